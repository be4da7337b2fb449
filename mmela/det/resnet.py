"""MMDetection's ResNet with plugins at every depth."""

from __future__ import annotations

from mmdet.models.backbones.resnet import BasicBlock, Bottleneck, ResNet

from mmela.plugins.residual import PluginBasicBlock, PluginBottleneck, PluginResNet
from mmela.registry import MODELS


class DetBasicBlock(PluginBasicBlock, BasicBlock):
    """MMDetection's basic block with plugins."""


class DetBottleneck(PluginBottleneck, Bottleneck):
    """MMDetection's bottleneck with plugins."""


@MODELS.register_module()
class DetResNet(PluginResNet, ResNet):
    """MMDetection's ResNet, whose depths 18 and 34 take plugins as 50, 101 and 152 do.

    Without plugins it is its parent: modules, state-dict keys and outputs. With plugins every key
    of the parent keeps its name, so the parent's checkpoints load.

    Args:
        depth: 18, 34, 50, 101 or 152.
        plugins: Entries ``dict(cfg=..., position=..., stages=...)``, see :mod:`mmela.plugins`, at
            the positions of :class:`mmela.plugins.residual.PluginResNet`.
        **kwargs: Other arguments of ``mmdet.ResNet``.

    Raises:
        ConfigError: If ``plugins`` is invalid.

    Examples:
        >>> import torch
        >>> plugins = [dict(cfg=dict(type='mmela.ELA'), position='after_conv2')]
        >>> backbone = DetResNet(depth=18, plugins=plugins)
        >>> [tuple(out.shape) for out in backbone.eval()(torch.rand(1, 3, 32, 32))]
        [(1, 64, 8, 8), (1, 128, 4, 4), (1, 256, 2, 2), (1, 512, 1, 1)]
    """

    plugin_blocks = {BasicBlock: DetBasicBlock, Bottleneck: DetBottleneck}
