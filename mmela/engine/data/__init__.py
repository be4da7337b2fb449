"""The data of a run: its order and random numbers, and files that cannot be read."""
