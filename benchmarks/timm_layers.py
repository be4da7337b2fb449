"""The attentions of timm, where it is installed."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from torch import nn

#: Our names, and where timm has its own.
NAMES = {
    'ELA': 'coord_attn.EfficientLocalAttn',
    'SE': 'squeeze_excite.SEModule',
    'ECA': 'eca.EcaModule',
    'CBAM': 'cbam.CbamModule',
    'CoordAtt': 'coord_attn.CoordAttn',
}


@cache
def timm_layers() -> dict[str, Any]:
    """Imports the layers without the rest of timm, and without torchvision where it is missing.

    ``timm.layers`` asks torchvision for one class, a frozen BatchNorm that none of these uses.
    What stands in for it, and for timm itself, is gone when they are imported.

    Returns:
        Classes by the names of :data:`NAMES`; one that this timm lacks is left out, and without
        timm there are none.
    """
    spec = find_spec('timm')
    if spec is None:
        return {}
    before = set(sys.modules)
    passing = ['timm']
    if not _has_torchvision():
        passing.append('torchvision')
        for name in ('torchvision', 'torchvision.ops', 'torchvision.ops.misc'):
            sys.modules[name] = ModuleType(name)
        sys.modules['torchvision.ops.misc'].FrozenBatchNorm2d = nn.Identity  # type: ignore[attr-defined]
    if 'timm' not in sys.modules:
        sys.modules['timm'] = ModuleType('timm')  # its own __init__ loads all of its models
        sys.modules['timm'].__path__ = list(spec.submodule_search_locations or ())
    try:
        return {ours: layer for ours, theirs in NAMES.items() if (layer := _layer(theirs))}
    finally:
        for name in set(sys.modules) - before:
            if name.split('.')[0] in passing:
                del sys.modules[name]


def _has_torchvision() -> bool:
    try:
        importlib.import_module('torchvision.ops.misc')
    # One that does not fit torch raises anything.
    except Exception:
        return False
    return True


def _layer(path: str) -> Any:
    module, name = path.split('.')
    try:
        return getattr(importlib.import_module(f'timm.layers.{module}'), name, None)
    except ImportError:
        return None
