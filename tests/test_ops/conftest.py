"""What the tests of the operations share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def convolutions_of_the_formula_in_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)


@pytest.fixture
def use_path(monkeypatch):
    """Has every map take one path of `plan`."""

    def use(path):
        monkeypatch.setattr('mmela.ops.fused.launch.FORCED_PATH', path)

    return use
