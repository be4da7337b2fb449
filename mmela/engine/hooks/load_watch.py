"""Watches a module while weights are loaded into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Size, nn

from mmela.engine.hooks.load_report import LoadReport, attention_layers, compare


class LoadWatch:
    """Watches what is loaded into a module, by PyTorch's own hooks on loading.

    Args:
        module: The module to watch; it is watched for loads that start at it, so one that
            starts at a parent is left to the parent's watch.
        source: Where the weights will come from.
        target: What to call the module.
        done: Called with each report.

    Attributes:
        notes: What the next report has to say beside the keys.
    """

    def __init__(
        self,
        module: nn.Module,
        source: str,
        target: str,
        done: Callable[[LoadReport], None],
    ) -> None:
        self.module = module
        self.source = source
        self.target = target
        self.done = done
        self.notes: list[str] = []
        self._shapes: dict[str, Size] | None = None
        self._handles = [
            # The public name of this hook is younger than the torch of many environments.
            module._register_load_state_dict_pre_hook(self._before, with_module=False),
            module.register_load_state_dict_post_hook(self._after),
        ]

    def remove(self) -> None:
        """Ends the watch."""
        for handle in self._handles:
            handle.remove()

    def _before(self, state_dict: Mapping[str, Any], prefix: str, *_: Any) -> None:
        is_start = prefix == ''
        self._shapes = {k: v.shape for k, v in state_dict.items()} if is_start else None

    def _after(self, module: nn.Module, incompatible: Any) -> None:
        theirs, self._shapes = self._shapes, None
        if theirs is None:
            return
        notes, self.notes = self.notes, []
        ours = {key: tensor.shape for key, tensor in module.state_dict().items()}
        self.done(
            compare(
                ours,
                theirs,
                missing=incompatible.missing_keys,
                unexpected=incompatible.unexpected_keys,
                source=self.source,
                target=self.target,
                attentions=attention_layers(module),
                notes=notes,
            )
        )
