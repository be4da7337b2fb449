"""Settings shared by the tests of the operations."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def convolutions_of_the_formula_in_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
