"""Plugins in MobileNetV2, for every toolbox whose network is built like MMDetection's.

The toolboxes' networks agree in their layers, ``layer1`` to ``layer7``, and differ in how a block
holds its convolutions: MMDetection gives them names, the others number them in a ``Sequential``,
where a layer put between would rename those behind it. So a plugin becomes a part of what it
follows, of the depthwise ``ConvModule`` or of the block, and every key keeps its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mmela.errors import ConfigError
from mmela.plugins import (
    Plugin,
    add_plugins,
    at,
    init_with_plugins,
    parse_plugins,
    run_plugins,
    warn_if_frozen,
)

# Stands for the toolbox's class that follows the mixin: what a mixin uses, that class has.
Parent: Any = nn.Module

POSITIONS = ('after_depthwise', 'after_block')


class RunsPlugins(Parent):
    """Goes in front of the class of a module and runs plugins on what that module returns.

    The parents build their blocks in a loop that names the class. So that the loop stays theirs,
    a finished module takes the subclass on (its ``__class__``, as ``torch.nn.utils.parametrize``
    does it). Where the module checkpoints its forward (``with_cp``), its plugins run behind that.
    """

    plugin_names: list[str]

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The module's own forward, then the plugins in their order."""
        return run_plugins(self, self.plugin_names, super().forward(*args, **kwargs))


class PluginConvModule(RunsPlugins, ConvModule):
    """A ``ConvModule`` with plugins behind its convolution, norm and activation."""


class Place(NamedTuple):
    """A place for plugins in one block."""

    module: nn.Module  # they run on what it returns
    channels: int


class PluginMobileNetV2(Parent):
    """Goes in front of a toolbox's ``MobileNetV2``.

    A subclass names the block to exchange in ``plugin_blocks``: the toolbox's ``InvertedResidual``
    to the same block with :class:`RunsPlugins`.
    """

    plugin_blocks: dict[type[nn.Module], type[nn.Module]] = {}

    def __init__(
        self, *args: Any, plugins: Sequence[Mapping[str, Any]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        # MMDetection's network ends in `conv2`, which has no blocks and is no stage here.
        stages = {
            f'layer{i + 1}': getattr(self, f'layer{i + 1}') for i in range(len(self.arch_settings))
        }
        has_place = {
            position: [
                any(position in _places(block) for block in stage) for stage in stages.values()
            ]
            for position in POSITIONS
        }
        parsed = parse_plugins(
            plugins,
            owner=self._owner,
            positions=POSITIONS,
            num_stages=len(stages),
            default_stages=has_place,
            allow_several=True,
        )
        for plugin in parsed:
            _check_stages(plugin, list(stages), has_place[plugin.position])
        for i, stage in enumerate(stages.values()):
            for block in stage:
                for position, place in _places(block).items():
                    self._add_plugins(place, at(parsed, position, i))
        frozen = list(enumerate(stages))[: max(self.frozen_stages, 0)]
        held = {name: [plugin for plugin in parsed if plugin.stages[i]] for i, name in frozen}
        warn_if_frozen(self._owner, self.frozen_stages, held)

    @property
    def _owner(self) -> str:
        return f'mmela.{type(self).__name__}'

    def _add_plugins(self, place: Place, plugins: list[Plugin]) -> None:
        if not plugins:
            return
        exchange = {ConvModule: PluginConvModule, **self.plugin_blocks}
        kind = type(place.module)
        if kind not in exchange:
            raise ConfigError(
                f'{self._owner} is built of {kind.__name__}, which takes no plugins; name a '
                'block that does in `plugin_blocks`.'
            )
        place.module.plugin_names = add_plugins(place.module, plugins, place.channels)
        place.module.__class__ = exchange[kind]

    def init_weights(self) -> None:
        """As the parent, and initialises the plugins that can do it themselves."""
        runners = [module for module in self.modules() if isinstance(module, RunsPlugins)]
        layers = [getattr(runner, name) for runner in runners for name in runner.plugin_names]
        init_with_plugins(super().init_weights, layers, self.init_cfg)

    def train(self, mode: bool = True) -> PluginMobileNetV2:
        """As the parent, which returns None; like every module, this returns itself."""
        super().train(mode)
        return self


def _places(block: nn.Module) -> dict[str, Place]:
    """The places of a block by position; without an expansion it has none `after_depthwise`."""
    convs = [module for module in block.modules() if isinstance(module, ConvModule)]
    *expansion, depthwise, projection = convs
    places = {'after_block': Place(block, projection.out_channels)}
    if expansion:
        places['after_depthwise'] = Place(depthwise, depthwise.out_channels)
    return places


def _check_stages(plugin: Plugin, stages: Sequence[str], has_place: Sequence[bool]) -> None:
    used = zip(stages, plugin.stages, has_place, strict=True)
    lacking = [name for name, is_used, has in used if is_used and not has]
    if lacking or not any(has_place):
        raise ConfigError(
            f'{plugin.label}: {plugin.position} is a place in blocks that widen their map before '
            f'the depthwise convolution, and those of {", ".join(lacking or stages)} do not; '
            'leave stages out, or write False there.'
        )
