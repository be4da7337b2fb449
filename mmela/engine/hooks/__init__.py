"""What happens during a run: the hooks of mmela."""
