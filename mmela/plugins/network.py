"""What every network with plugins adds to its parent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

# Stands for the toolbox's class behind the mixin in the bases, which has all that a mixin uses.
Parent: Any = nn.Module


class PluginNetwork(Parent):
    """Mixin in front of a toolbox's network: initialises the plugins too."""

    @property
    def _owner(self) -> str:
        """The network's name in messages."""
        return f'mmela.{type(self).__name__}'

    def init_weights(self) -> None:
        """As the parent, and initialises the plugins that have an ``init_weights``."""
        layers = [
            getattr(module, name)
            for module in self.modules()
            for name in getattr(module, 'plugin_names', ())
        ]
        init_with_plugins(super().init_weights, layers, getattr(self, 'init_cfg', None))

    def train(self, mode: bool = True) -> PluginNetwork:
        """As the parent, but returns the network, as every module does; the parents return None."""
        super().train(mode)
        return self


def init_with_plugins(
    init_network: Callable[[], None], layers: Iterable[nn.Module], init_cfg: Any = None
) -> None:
    """Initialises a network, then those of its plugins that this did not reach.

    MMEngine's recursion ends at a module without ``init_weights``, such as a plain
    ``nn.Sequential``. Its order is kept: the network's rules, the layers' own, the checkpoint.

    Args:
        init_network: The network's ``init_weights`` without plugins.
        layers: The plugins.
        init_cfg: The network's; if it names a checkpoint, that may hold the layers too.
    """
    entries = init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]
    is_pretrained = any(entry and entry.get('type') == 'Pretrained' for entry in entries)
    if not is_pretrained:
        init_network()
    for layer in layers:
        if hasattr(layer, 'init_weights') and not getattr(layer, 'is_init', False):
            layer.init_weights()
    if is_pretrained:
        init_network()
