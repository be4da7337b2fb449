"""What importing mmela changes in MMEngine."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import MODELS as MMENGINE_MODELS
from torch import nn


def register_config_packages() -> None:
    """Makes ``_base_ = 'mmela::...'`` and ``_base_ = 'mmseg::...'`` resolve.

    MMEngine keeps a fixed table of the packages that hold configs. The table lacks mmela, and it
    maps ``mmseg`` to the original distribution, which the maintained one does not provide.
    """
    MODULE2PACKAGE['mmela'] = 'mmela'
    if find_spec('mmseg') is not None:
        MODULE2PACKAGE['mmseg'] = 'mmseg'


def register_plain_name(name: str, layer: type[nn.Module]) -> None:
    """Registers a layer in MMEngine's root registry, as mmcv does with its plugin layers.

    If another class has the name, a warning says so and the registry stays as it is; the prefixed
    name works all the same.

    Args:
        name: The name without prefix.
        layer: The class.
    """
    taken = MMENGINE_MODELS.module_dict.get(name)
    if taken is None:
        MMENGINE_MODELS.register_module(name=name, module=layer)
    elif taken is not layer:
        warnings.warn(
            f"the name '{name}' is registered already, by {taken.__module__}.{taken.__qualname__}; "
            f"write type='mmela.{name}' for the layer of mmela.",
            stacklevel=2,
        )
