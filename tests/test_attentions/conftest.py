"""Layers of another library, to hold ours against."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmarks.methods import TIMM_LAYERS, UnavailableError, timm_layer


@pytest.fixture(scope='session')
def timm_layers():
    """The attentions of timm by our names for them."""
    try:
        return SimpleNamespace(**{name: timm_layer(name) for name in TIMM_LAYERS})
    except UnavailableError as error:
        pytest.skip(f'{error}; timm is in requirements/tests-no-deps.txt')
