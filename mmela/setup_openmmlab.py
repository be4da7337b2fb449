"""What MMEngine has to be told about mmela, once, when mmela is imported."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import MODELS as MMENGINE_MODELS
from torch import nn


def register_config_packages() -> None:
    """Makes ``_base_ = 'mmela::...'`` and ``'mmseg::...'`` resolve.

    MMEngine keeps a fixed table of the packages that may hold configs. It lacks mmela, and it
    knows MMSegmentation by the name of the original distribution alone, which is not importable
    and which the maintained distribution does not have.
    """
    MODULE2PACKAGE['mmela'] = 'mmela'
    if find_spec('mmseg') is not None:
        MODULE2PACKAGE['mmseg'] = 'mmseg'


def register_plain_name(name: str, layer: type[nn.Module]) -> None:
    """Puts a layer into MMEngine's root registry, as mmcv's plugin layers are.

    Args:
        name: The name without prefix.
        layer: The class. If another one has the name already, a warning says so and the
            registry stays as it is: the prefixed name works all the same.
    """
    taken = MMENGINE_MODELS.module_dict.get(name)
    if taken is None:
        MMENGINE_MODELS.register_module(name=name, module=layer)
    elif taken is not layer:
        warnings.warn(
            f"the plain name '{name}' is taken by {taken.__module__}.{taken.__qualname__}; "
            f"write type='mmela.{name}' for the layer of mmela.",
            stacklevel=2,
        )
