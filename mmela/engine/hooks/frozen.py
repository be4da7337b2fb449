"""The hook that warns of plugins in frozen parts of a network."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from mmela.engine.hooks.unwrapping import unwrap
from mmela.errors import listed

#: How many layers the warning names.
_NAMES_SHOWN = 5


class FrozenPluginsHook(Hook):
    """Warns once, before training, of plugins that will not be trained.

    ``frozen_stages`` of a backbone freezes the layers that ``plugins`` added to these stages too.
    """

    def before_train(self, runner: Runner) -> None:
        """Looks for such plugins in the network."""
        frozen = frozen_plugins(unwrap(runner.model), runner.cfg.get('model'))
        if frozen:
            print_log(
                f'{len(frozen)} plugins are in frozen parts of the network, so they stay as they '
                'were initialised unless a checkpoint has them; leave these stages out with '
                f'`stages`, or lower frozen_stages: {listed(frozen, _NAMES_SHOWN)}',
                logger=runner.logger,
                level=logging.WARNING,
            )


def frozen_plugins(model: nn.Module, model_cfg: Any) -> list[str]:
    """Finds the layers added by ``plugins`` none of whose parameters is trainable.

    Args:
        model: The network.
        model_cfg: Its config, whose ``plugins`` name the types of these layers.

    Returns:
        The names of the layers.
    """
    types = set(_plugin_types(model_cfg))
    return [
        name
        for name, module in model.named_modules()
        if type(module).__name__ in types
        and any(True for _ in module.parameters())
        and not any(parameter.requires_grad for parameter in module.parameters())
    ]


def _plugin_types(node: Any) -> Iterator[str]:
    """The class names in the ``plugins`` of a config node and below."""
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _plugin_types(item)
    elif isinstance(node, dict):
        for entry in node.get('plugins') or ():
            # A network of the user's own may have another grammar.
            layer = entry.get('cfg') if isinstance(entry, dict) else None
            kind = layer.get('type') if isinstance(layer, dict) else None
            yield kind.__name__ if isinstance(kind, type) else str(kind).rpartition('.')[2]
        for item in node.values():
            yield from _plugin_types(item)
