"""How a toolbox's residual network builds and runs its plugins, read off one built with probes.

The toolboxes derive a dozen networks from one ResNet, and some pass on a width that is not the
map's, or run only one of several plugins. Which ones do depends on their arguments and on the
toolbox's version, so that no table could say it; a build on the meta device costs milliseconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

POSITIONS = ('after_conv1', 'after_conv2', 'after_conv3')

T = TypeVar('T')


class Width(NamedTuple):
    """Channels at one place."""

    built_for: int  # what the network tells a plugin there
    of_map: int  # what the plugin will be given there


class ProbedNetwork(NamedTuple):
    """What the probes saw."""

    widths: list[dict[str, Width]]  # of each stage, by position
    is_chained: bool  # whether several plugins at one position run one after another


class Probe(nn.Module):
    """Stands for a plugin and notes the width that it was built for."""

    _abbr_ = 'probe_'

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels

    def forward(self, x: Any) -> Any:
        """Counts: returns its input plus one."""
        return x + 1


def probe(build: Callable[[list[dict] | None], nn.Module]) -> ProbedNetwork | None:
    """Builds a network with a probe at every position and looks where they ended up.

    Args:
        build: Builds the network with the ``plugins`` that it is given.

    Returns:
        What they saw; None if the network has no blocks with these positions.

    Raises:
        Exception: Whatever the network raises when it is built.
    """
    probes = [dict(cfg=dict(type=Probe, postfix=p), position=p) for p in POSITIONS]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the network that will be used says it too
        network = build_cheaply(lambda: build(probes))
    blocks = [_first_probed(getattr(network, name)) for name in getattr(network, 'res_layers', ())]
    if not blocks or None in blocks:
        return None
    names = [Probe._abbr_ + position for position in POSITIONS]
    is_chained = all(block.forward_plugin(0, names) == len(names) for block in blocks)
    return ProbedNetwork([_widths(block) for block in blocks], is_chained)


def _first_probed(stage: nn.Module) -> Any:
    """The first block of a stage that holds the probes; the others are of the same widths."""
    held = (module for module in stage.modules() if Probe._abbr_ + POSITIONS[0] in module._modules)
    return next(held, None)


def _widths(block: Any) -> dict[str, Width]:
    # Read behind conv2 from conv3, because conv2 is several convolutions in some blocks.
    of_maps = (block.conv1.out_channels, block.conv3.in_channels, block.conv3.out_channels)
    return {
        position: Width(getattr(block, Probe._abbr_ + position).in_channels, of_map)
        for position, of_map in zip(POSITIONS, of_maps, strict=True)
    }


def build_cheaply(build: Callable[[], T]) -> T:
    """Builds something only to look at it, without memory where that is possible.

    Args:
        build: Builds it.

    Returns:
        What it returns, on the meta device or, where it needs real values, on the default one.
    """
    try:
        with torch.device('meta'):
            return build()
    # The cause may be that a layer needs real values when it is built.
    except Exception:
        return build()
