"""What mmela does during a run, as hooks of MMEngine's runner."""
