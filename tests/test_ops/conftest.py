"""Settings shared by the tests of the operations."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def convolutions_of_the_formula_in_float32(monkeypatch):
    """And the same in every run: cuDNN's weight gradients are not, unless it is told to."""
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    monkeypatch.setattr(torch.backends.cudnn, 'deterministic', True)
