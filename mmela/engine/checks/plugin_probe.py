"""How a toolbox's residual network builds and runs its plugins, found by building it with probes.

The toolboxes derive a dozen networks from one ResNet. Some give a plugin another width than the
map has, or use only one of several plugins at a position. Which ones do depends on their arguments
and on the toolbox's version, so a table cannot say it; a build on the meta device takes
milliseconds.
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

    built_for: int  # the width that the network gives a plugin there
    of_map: int  # what the plugin is given there


class ProbedNetwork(NamedTuple):
    """What the probes found."""

    widths: list[dict[str, Width]]  # of each stage, by position
    is_chained: bool  # whether several plugins at one position run one after another


class Probe(nn.Module):
    """A plugin that keeps the width that it was built for, and adds one to its input."""

    _abbr_ = 'probe_'

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels

    def forward(self, x: Any) -> Any:
        """Adds one."""
        return x + 1


def probe(build: Callable[[list[dict] | None], nn.Module]) -> ProbedNetwork | None:
    """Builds a network with a probe at every position.

    Returns:
        What the probes found; None if the network has no blocks with these positions.

    Raises:
        Exception: Whatever the network raises when it is built.
    """
    plugins = [dict(cfg=dict(type=Probe, postfix=p), position=p) for p in POSITIONS]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # building the network for the run repeats them
        network = build_cheaply(lambda: build(plugins))
    names = [Probe._abbr_ + position for position in POSITIONS]
    widths, is_chained = [], True
    for stage in getattr(network, 'res_layers', ()):
        blocks = [
            module for module in getattr(network, stage).modules() if hasattr(module, names[0])
        ]
        if not blocks:
            return None
        block: Any = blocks[0]  # the others have the same widths
        # Behind conv2 it is read from conv3, because conv2 is several convolutions in some blocks.
        of_maps = block.conv1.out_channels, block.conv3.in_channels, block.conv3.out_channels
        built_for = [getattr(block, name).in_channels for name in names]
        widths.append(dict(zip(POSITIONS, map(Width, built_for, of_maps), strict=True)))
        is_chained = is_chained and block.forward_plugin(0, names) == len(names)
    return ProbedNetwork(widths, is_chained) if widths else None


def build_cheaply(build: Callable[[], T]) -> T:
    """Builds something only to look at it, without memory where that is possible.

    Returns:
        What it returns, on the meta device or, if that fails, on the default one.
    """
    try:
        with torch.device('meta'):
            return build()
    # A layer may need real values when it is built.
    except Exception:
        return build()
