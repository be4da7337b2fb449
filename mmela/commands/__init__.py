"""What the commands behind ``mmela ...`` do beyond training and testing."""
