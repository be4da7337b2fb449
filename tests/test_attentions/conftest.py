"""Layers of another library, to hold ours against."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch


@pytest.fixture(scope='session')
def timm_layers():
    """The attentions of timm, imported without torchvision.

    ``timm.layers`` asks torchvision for one class, a frozen BatchNorm that none of these uses.
    What stands in for it, and for the rest of timm, is gone when they are imported.
    """
    spec = importlib.util.find_spec('timm')
    if spec is None:
        pytest.skip('timm is not installed; it is in requirements/tests-no-deps.txt')
    before = set(sys.modules)
    passing = ['timm']  # a torchvision that is installed stays: it cannot be imported twice
    if importlib.util.find_spec('torchvision') is None:
        passing.append('torchvision')
        for name in ('torchvision', 'torchvision.ops', 'torchvision.ops.misc'):
            sys.modules[name] = ModuleType(name)
        sys.modules['torchvision.ops.misc'].FrozenBatchNorm2d = torch.nn.Identity
    if 'timm' not in sys.modules:
        sys.modules['timm'] = ModuleType('timm')  # its own __init__ loads all of its models
        sys.modules['timm'].__path__ = list(spec.submodule_search_locations)
    try:
        names = dict(
            SE='squeeze_excite.SEModule',
            ECA='eca.EcaModule',
            CBAM='cbam.CbamModule',
            CoordAtt='coord_attn.CoordAttn',
        )
        layers = {}
        for ours, theirs in names.items():
            module, name = theirs.split('.')
            layers[ours] = getattr(importlib.import_module(f'timm.layers.{module}'), name)
        return SimpleNamespace(**layers)
    finally:
        for name in set(sys.modules) - before:
            if name.split('.')[0] in passing:
                del sys.modules[name]
