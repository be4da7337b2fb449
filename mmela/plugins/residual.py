"""Plugins in residual networks, for every toolbox whose ResNet is built like MMDetection's.

The toolboxes keep copies of one ResNet. What they refuse is the same everywhere: `BasicBlock`
takes no plugins, and MMSegmentation's `Bottleneck` runs only the last of several plugins at one
position. These mixins go in front of a toolbox's own classes and add nothing else: without
plugins the network holds the toolbox's own blocks and is its parent to the bit.

The blocks are exchanged in ``make_res_layer`` and not in ``arch_settings``, because the parents
decide about ``zero_init_residual`` by the exact class that stands in ``arch_settings``.
"""

from __future__ import annotations

from typing import Any

import torch.utils.checkpoint as cp
from torch import Tensor, nn

from mmela.errors import ConfigError
from mmela.plugins import Plugin, add_plugins, at, parse_plugins, run_plugins, warn_if_frozen

# Stands for the toolbox's class that follows the mixin: what a mixin uses, that class has.
Parent: Any = nn.Module


class PluginBasicBlock(Parent):
    """Goes in front of a toolbox's ``BasicBlock``: positions ``after_conv1``, ``after_conv2``."""

    def __init__(self, *args: Any, plugins: list[Plugin], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        planes = self.conv2.out_channels
        self.after_conv1_plugin_names = add_plugins(self, at(plugins, 'after_conv1'), planes)
        self.after_conv2_plugin_names = add_plugins(self, at(plugins, 'after_conv2'), planes)

    def forward_plugin(self, x: Tensor, plugin_names: list[str]) -> Tensor:
        """Runs some plugins one after another."""
        return run_plugins(self, plugin_names, x)

    def forward(self, x: Tensor) -> Tensor:
        """The parent's block with the plugins between its layers.

        Args:
            x: Feature map of shape (N, in, H, W).

        Returns:
            Feature map of shape (N, out, H / stride, W / stride).
        """

        def body(x: Tensor) -> Tensor:
            out = self.relu(self.norm1(self.conv1(x)))
            out = self.forward_plugin(out, self.after_conv1_plugin_names)
            out = self.norm2(self.conv2(out))
            out = self.forward_plugin(out, self.after_conv2_plugin_names)
            out += x if self.downsample is None else self.downsample(x)
            return out

        if self.with_cp and x.requires_grad:
            return self.relu(cp.checkpoint(body, x, use_reentrant=False))
        return self.relu(body(x))


class PluginBottleneck(Parent):
    """Goes in front of a toolbox's ``Bottleneck``, whose forward knows the three positions."""

    def __init__(self, *args: Any, plugins: list[Plugin], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        inner, outer = self.conv2.out_channels, self.conv3.out_channels
        self.with_plugins = True
        self.after_conv1_plugin_names = add_plugins(self, at(plugins, 'after_conv1'), inner)
        self.after_conv2_plugin_names = add_plugins(self, at(plugins, 'after_conv2'), inner)
        self.after_conv3_plugin_names = add_plugins(self, at(plugins, 'after_conv3'), outer)

    forward_plugin = PluginBasicBlock.forward_plugin


class PluginResNet(Parent):
    """Goes in front of a toolbox's ``ResNet`` and lets every depth take plugins.

    A subclass names the blocks to exchange in ``plugin_blocks``: the toolbox's block to the same
    block with one of the mixins above.
    """

    plugin_blocks: dict[type[nn.Module], type[nn.Module]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.plugins:
            frozen = range(min(self.frozen_stages, self.num_stages))
            places = {f'layer{i + 1}': self.make_stage_plugins(self.plugins, i) for i in frozen}
            warn_if_frozen(self._owner, self.frozen_stages, places)

    @property
    def _owner(self) -> str:
        return f'mmela.{type(self).__name__}({self.depth})'

    def make_stage_plugins(self, plugins: Any, stage_idx: int) -> list[Plugin]:
        """The checked plugins of one stage; the parent calls this while it builds itself.

        Raises:
            ConfigError: If the list is not in order.
        """
        positions = ['after_conv1', 'after_conv2', 'after_conv3'][: self._convs_per_block]
        parsed = parse_plugins(
            plugins, owner=self._owner, positions=positions, num_stages=self.num_stages
        )
        return [plugin for plugin in parsed if plugin.stages[stage_idx]]

    @property
    def _convs_per_block(self) -> int:
        # A basic block keeps its width (expansion 1) with two convolutions, a bottleneck has three.
        return 2 if self.block.expansion == 1 else 3

    def make_res_layer(self, **kwargs: Any) -> nn.Module:
        """One stage: the parent's own, or with the blocks that take plugins."""
        if kwargs.get('plugins'):
            if kwargs['block'] not in self.plugin_blocks:
                raise ConfigError(
                    f'{self._owner} is built of {kwargs["block"].__name__}, which takes no '
                    'plugins; name a block that does in `plugin_blocks`.'
                )
            kwargs['block'] = self.plugin_blocks[kwargs['block']]
        elif 'plugins' in kwargs:
            kwargs['plugins'] = None
        return super().make_res_layer(**kwargs)

    def train(self, mode: bool = True) -> PluginResNet:
        """As the parent, which returns None; like every module, this returns itself."""
        super().train(mode)
        return self
