"""The hook that trains with outputs of ELA computed again in backward."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmela.ops import recompute_outputs
from mmela.registry import HOOKS


@HOOKS.register_module()
class RecomputeHook(Hook):
    """Trains under :func:`mmela.ops.recompute_outputs`: less memory for more time.

    In a config:

    .. code-block:: python

        custom_hooks = [dict(type='mmela.RecomputeHook')]
    """

    def __init__(self) -> None:
        self._iteration = ExitStack()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Begins it, before the forward pass."""
        self._iteration.enter_context(recompute_outputs())

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Ends it, after the optimizer's step."""
        self._iteration.close()
