"""The network inside what MMEngine wraps around it."""

from __future__ import annotations

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """The network inside wrappers for several processes or test-time augmentation.

    Args:
        model: The model of a runner.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
