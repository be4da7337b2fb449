"""MMPreTrain's ResNet with plugins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch.utils.checkpoint as cp
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn

from mmela.plugins import init_with_plugins
from mmela.plugins.residual import PluginBasicBlock, PluginBottleneck, PluginResNet
from mmela.registry import MODELS

# Stands for the toolbox's class that follows the mixin: what a mixin uses, that class has.
Parent: Any = nn.Module

POSITIONS = ('after_conv1', 'after_conv2', 'after_conv3')


class _Block(Parent):
    """The forward of MMPreTrain's blocks around a residual branch that may hold plugins.

    MMPreTrain's blocks have no place for plugins, and they may drop the branch of a sample
    (``drop_path_rate``), which its plugins are part of.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The parent's block with the plugins between its layers.

        Args:
            x: Feature map of shape (N, in, H, W).

        Returns:
            Feature map of shape (N, out, H / stride, W / stride).
        """

        def body(x: Tensor) -> Tensor:
            out = self.drop_path(self.branch(x))
            out += x if self.downsample is None else self.downsample(x)
            return out

        if self.with_cp and x.requires_grad:
            return self.relu(cp.checkpoint(body, x, use_reentrant=False))
        return self.relu(body(x))

    def plugin_layers(self) -> Iterator[nn.Module]:
        """The plugins of the block."""
        for position in POSITIONS:
            for name in getattr(self, f'{position}_plugin_names', ()):
                yield getattr(self, name)


class ClsBasicBlock(_Block, PluginBasicBlock, BasicBlock):
    """MMPreTrain's basic block with plugins."""

    def branch(self, x: Tensor) -> Tensor:
        """The residual branch, from the input to what is added to the shortcut."""
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.forward_plugin(out, self.after_conv1_plugin_names)
        out = self.norm2(self.conv2(out))
        return self.forward_plugin(out, self.after_conv2_plugin_names)


class ClsBottleneck(_Block, PluginBottleneck, Bottleneck):
    """MMPreTrain's bottleneck with plugins."""

    def branch(self, x: Tensor) -> Tensor:
        """The residual branch, from the input to what is added to the shortcut."""
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.forward_plugin(out, self.after_conv1_plugin_names)
        out = self.relu(self.norm2(self.conv2(out)))
        out = self.forward_plugin(out, self.after_conv2_plugin_names)
        out = self.norm3(self.conv3(out))
        return self.forward_plugin(out, self.after_conv3_plugin_names)


@MODELS.register_module()
class ClsResNet(PluginResNet, ResNet):
    """MMPreTrain's ResNet, which knows no plugins of its own, with plugins at every depth.

    Without plugins it is its parent: modules, state-dict keys and outputs. With plugins every key
    of the parent keeps its name, so the parent's checkpoints load.

    Its own checkpoints are a start for ``mmela.DetResNet`` and ``mmela.SegResNet`` with the same
    plugins: ``init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=...)``. The stem of
    ResNetV1c and V1d (``deep_stem=True``) holds other layers here than there.

    Args:
        depth: 18, 34, 50, 101 or 152.
        plugins: Entries ``dict(cfg=..., position=..., stages=...)`` as :mod:`mmela.plugins` says,
            at the positions ``after_conv1``, ``after_conv2`` and, in the bottlenecks of 50 and
            deeper, ``after_conv3``: behind that convolution's norm and activation, the last one
            before the addition.
        **kwargs: Everything else that ``mmpretrain.ResNet`` takes.

    Raises:
        ConfigError: If ``plugins`` is not in order.

    Examples:
        >>> import torch
        >>> plugins = [dict(cfg=dict(type='mmela.ELA'), position='after_conv2')]
        >>> backbone = ClsResNet(depth=18, plugins=plugins)
        >>> [tuple(out.shape) for out in backbone.eval()(torch.rand(1, 3, 32, 32))]
        [(1, 512, 1, 1)]
    """

    plugin_blocks = {BasicBlock: ClsBasicBlock, Bottleneck: ClsBottleneck}

    def __init__(
        self, *args: Any, plugins: Sequence[Mapping[str, Any]] | None = None, **kwargs: Any
    ) -> None:
        # Before everything else: the parent builds its stages while it is initialised.
        self.plugins = plugins
        super().__init__(*args, **kwargs)

    @property
    def _convs_per_block(self) -> int:
        # The block's expansion is an argument here, so its class has to tell.
        return 3 if issubclass(self.block, Bottleneck) else 2

    def make_res_layer(self, **kwargs: Any) -> nn.Module:
        """One stage: the parent's own, or with the blocks that take plugins."""
        plugins = self.make_stage_plugins(self.plugins, len(self.res_layers))
        if plugins:
            kwargs['plugins'] = plugins
        return super().make_res_layer(**kwargs)

    def init_weights(self) -> None:
        """As the parent, and initialises the plugins that can do it themselves."""
        # A stage is a plain nn.Sequential here, at which the recursion of MMEngine ends.
        blocks = [module for module in self.modules() if isinstance(module, _Block)]
        layers = [layer for block in blocks for layer in block.plugin_layers()]
        init_with_plugins(super().init_weights, layers, self.init_cfg)
