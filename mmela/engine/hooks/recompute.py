"""The hook that trains with outputs of ELA recomputed in backward."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmela.engine.hooks.unwrapping import unwrap
from mmela.ops import recompute_outputs
from mmela.registry import HOOKS


@HOOKS.register_module()
class RecomputeHook(Hook):
    """Trains under :func:`mmela.ops.recompute_outputs`: less memory for more time.

    In a config:

    .. code-block:: python

        custom_hooks = [dict(type='mmela.RecomputeHook')]

    It covers each forward pass of the model in training mode, and ends with it, also if the forward
    pass raises.
    """

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._forward = ExitStack()

    def before_train(self, runner: Runner) -> None:
        """Hooks into the forward pass of the model."""
        self.after_train(runner)  # a run that raised may have left its hooks
        model = unwrap(runner.model)
        self._handles = [
            model.register_forward_pre_hook(self._begin),
            model.register_forward_hook(self._end, always_call=True),
        ]

    def after_train(self, runner: Runner) -> None:
        """Removes the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _begin(self, model: nn.Module, args: Any) -> None:
        self._forward.close()
        if model.training:
            self._forward.enter_context(recompute_outputs())

    def _end(self, model: nn.Module, args: Any, output: Any) -> None:
        self._forward.close()
