"""Plugins in residual networks, for every toolbox whose ResNet is built like MMDetection's.

The toolboxes keep copies of one ResNet, whose ``BasicBlock`` takes no plugins. MMSegmentation's
``Bottleneck`` runs only the last of several plugins at one position, and MMPreTrain's takes none.
The mixins stand in front of a toolbox's own classes; a stage without plugins holds the toolbox's
own blocks.

The blocks are exchanged in ``make_res_layer`` and not in ``arch_settings``, because the parents
apply ``zero_init_residual`` by the exact class that stands in ``arch_settings``.
"""

from __future__ import annotations

from typing import Any

import torch.utils.checkpoint as cp
from torch import Tensor, nn

from mmela.errors import ConfigError
from mmela.plugins.grammar import Plugin, parse_plugins, plugins_at
from mmela.plugins.layers import add_plugins, run_plugins
from mmela.plugins.network import Parent, PluginNetwork


class PluginBlock(Parent):
    """Mixin in front of a toolbox's residual block: positions ``after_conv1`` to the last one.

    .. code-block:: none

        x -> conv1 -> norm1 -> relu -> [after_conv1] -> ... -> last norm -> [after_conv*] -> + x
    """

    num_convs: int

    def __init__(self, *args: Any, plugins: list[Plugin], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.plugins_after_conv = [
            add_plugins(self, plugins_at(plugins, position), getattr(self, f'conv{i}').out_channels)
            for i, position in enumerate(positions_of(self.num_convs), 1)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """As the parent, with the plugins between its layers.

        Args:
            x: Feature map of shape (N, in, H, W).

        Returns:
            Feature map of shape (N, out, H / stride, W / stride).
        """

        def body(x: Tensor) -> Tensor:
            out = x
            for i, names in enumerate(self.plugins_after_conv, 1):
                out = getattr(self, f'norm{i}')(getattr(self, f'conv{i}')(out))
                if i < self.num_convs:
                    out = self.relu(out)
                out = run_plugins(self, names, out)
            if hasattr(self, 'drop_path'):  # MMPreTrain's blocks may drop the branch of a sample
                out = self.drop_path(out)
            out += x if self.downsample is None else self.downsample(x)
            return out

        if self.with_cp and x.requires_grad:
            return self.relu(cp.checkpoint(body, x, use_reentrant=False))
        return self.relu(body(x))


class PluginBasicBlock(PluginBlock):
    """Mixin in front of a toolbox's ``BasicBlock``."""

    num_convs = 2


class PluginBottleneck(PluginBlock):
    """Mixin in front of a toolbox's ``Bottleneck``."""

    num_convs = 3


def positions_of(num_convs: int) -> list[str]:
    """The positions of a block with so many convolutions."""
    return [f'after_conv{i + 1}' for i in range(num_convs)]


class PluginResNet(PluginNetwork):
    """Mixin in front of a toolbox's ``ResNet``, whose blocks take plugins at every depth.

    The positions are ``after_conv1``, ``after_conv2`` and, in bottlenecks, ``after_conv3``: behind
    the norm and the activation of that convolution; behind the last one there is no activation,
    and the addition follows.
    """

    #: The toolbox's blocks, each with the subclass that takes plugins.
    plugin_blocks: dict[type[nn.Module], type[PluginBlock]] = {}

    @property
    def _owner(self) -> str:
        return f'{super()._owner}({self.depth})'

    def make_stage_plugins(self, plugins: Any, stage_idx: int) -> list[Plugin]:
        """The checked plugins of one stage; the parent calls this while it builds itself.

        Raises:
            ConfigError: If an entry is invalid.
        """
        if plugins and self.block not in self.plugin_blocks:
            raise ConfigError(
                f'{self._owner} is built of {self.block.__name__}, which takes no plugins; add a '
                'block that does to `plugin_blocks`.'
            )
        parsed = parse_plugins(
            plugins,
            owner=self._owner,
            positions=positions_of(self.plugin_blocks[self.block].num_convs) if plugins else (),
            num_stages=self.num_stages,
        )
        return [plugin for plugin in parsed if plugin.stages[stage_idx]]

    def make_res_layer(self, **kwargs: Any) -> nn.Module:
        """Builds a stage, of blocks that take plugins if it has any."""
        if kwargs.get('plugins'):
            kwargs['block'] = self.plugin_blocks[kwargs['block']]
        else:
            kwargs.pop('plugins', None)
        return super().make_res_layer(**kwargs)
