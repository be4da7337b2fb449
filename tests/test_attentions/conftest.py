"""Layers of another library, to hold ours against."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmarks.timm_layers import timm_layers as import_timm_layers


@pytest.fixture(scope='session')
def timm_layers():
    """The attentions of timm by our names for them."""
    layers = import_timm_layers()
    if not layers:
        pytest.skip('timm is not installed; it is in requirements/tests-no-deps.txt')
    return SimpleNamespace(**layers)
