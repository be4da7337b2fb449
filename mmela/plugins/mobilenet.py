"""Plugins in MobileNetV2, for every toolbox whose network is built like MMDetection's.

The toolboxes' networks have the same layers, ``layer1`` to ``layer7``, but hold the convolutions
of a block differently: MMDetection names them, the others number them in a ``Sequential``, where
a layer put between two of them would rename those behind it. So a plugin becomes a child of the
module that it follows, the depthwise ``ConvModule`` or the block, and every key keeps its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mmela.errors import ConfigError
from mmela.plugins.grammar import Plugin, parse_plugins, plugins_at
from mmela.plugins.layers import add_plugins, run_plugins
from mmela.plugins.network import Parent, PluginNetwork

POSITIONS = ('after_depthwise', 'after_block')


class AppendedPlugins(Parent):
    """Mixin in front of a module's class that runs plugins on the module's output.

    The parents build their blocks in a loop that names the class of a block. So that the loop need
    not be copied, a finished module is given the subclass as its ``__class__``, as
    ``torch.nn.utils.parametrize`` does. Where the module checkpoints its forward (``with_cp``), its
    plugins run after that.
    """

    plugin_names: list[str]

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The module's own forward, then the plugins in their order."""
        return run_plugins(self, self.plugin_names, super().forward(*args, **kwargs))


class PluginConvModule(AppendedPlugins, ConvModule):
    """A ``ConvModule`` with plugins behind its convolution, norm and activation."""


class Place(NamedTuple):
    """A place for plugins in one block."""

    module: nn.Module  # the plugins run on its output
    channels: int


class PluginMobileNetV2(PluginNetwork):
    """Mixin in front of a toolbox's ``MobileNetV2``: plugins in and behind its blocks.

    .. code-block:: none

        x -> expand -> depthwise -> [after_depthwise] -> project -> (+ x) -> [after_block]

    ``after_depthwise`` is the position of ELA's authors: behind the depthwise convolution, its norm
    and its ReLU6, in the 16 blocks that expand their input. ``after_block`` is behind the addition
    where there is one, so that the shortcut of the next block carries the result too. ``stages``
    counts ``layer1`` to ``layer7``, as ``out_indices`` does. The block of ``layer1`` does not
    expand its input and has no place ``after_depthwise``, where the default is the other six.

    Without plugins the network is its parent: modules, state-dict keys and outputs. With plugins
    every key of the parent keeps its name, so the parent's checkpoints load.
    """

    #: The toolbox's block, with the subclass that is :class:`AppendedPlugins`.
    plugin_blocks: dict[type[nn.Module], type[nn.Module]] = {}

    def __init__(
        self, *args: Any, plugins: Sequence[Mapping[str, Any]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        # MMDetection's network ends in `conv2`, which has no blocks and is not counted.
        stages = [getattr(self, f'layer{i + 1}') for i in range(len(self.arch_settings))]
        expands = [any('after_depthwise' in _places_in(b) for b in stage) for stage in stages]
        parsed = parse_plugins(
            plugins,
            owner=self._owner,
            positions=POSITIONS,
            num_stages=len(stages),
            available={'after_depthwise': (expands, 'their blocks expand their input')},
            allow_several=True,
        )
        for i, stage in enumerate(stages):
            for block in stage:
                for position, place in _places_in(block).items():
                    self._add_plugins(place, plugins_at(parsed, position, i))

    def _add_plugins(self, place: Place, plugins: list[Plugin]) -> None:
        if not plugins:
            return
        classes = {ConvModule: PluginConvModule, **self.plugin_blocks}
        module_class = type(place.module)
        if module_class not in classes:
            raise ConfigError(
                f'{self._owner} is built of {module_class.__name__}, which takes no plugins; add a '
                'block that does to `plugin_blocks`.'
            )
        add_plugins(place.module, plugins, place.channels)
        place.module.__class__ = classes[module_class]


def _places_in(block: nn.Module) -> dict[str, Place]:
    """The places in a block by position."""
    *expansion, depthwise, projection = (m for m in block.modules() if isinstance(m, ConvModule))
    places = {'after_block': Place(block, projection.out_channels)}
    if expansion:
        places['after_depthwise'] = Place(depthwise, depthwise.out_channels)
    return places
