"""Checkpoints: read as data, written safely, and found again by ``--resume``."""
