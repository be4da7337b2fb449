"""MMPreTrain's ResNet with plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn

from mmela.plugins.residual import PluginBasicBlock, PluginBottleneck, PluginResNet
from mmela.registry import MODELS


class ClsBasicBlock(PluginBasicBlock, BasicBlock):
    """MMPreTrain's basic block with plugins."""


class ClsBottleneck(PluginBottleneck, Bottleneck):
    """MMPreTrain's bottleneck with plugins."""


@MODELS.register_module()
class ClsResNet(PluginResNet, ResNet):
    """MMPreTrain's ResNet, which takes no plugins itself, with plugins at every depth.

    Without plugins it is its parent: modules, state-dict keys and outputs. With plugins every key
    of the parent keeps its name, so the parent's checkpoints load. With ``drop_path_rate`` the
    plugins are dropped together with the branch that they belong to.

    Its checkpoints can initialise ``mmela.DetResNet`` and ``mmela.SegResNet`` with these plugins:
    ``init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=...)``. The stem of ResNetV1c
    and V1d (``deep_stem=True``) has other layers here than in those two.

    Args:
        depth: 18, 34, 50, 101 or 152.
        plugins: Entries ``dict(cfg=..., position=..., stages=...)``, see :mod:`mmela.plugins`, at
            the positions of :class:`mmela.plugins.residual.PluginResNet`.
        **kwargs: Other arguments of ``mmpretrain.ResNet``.

    Raises:
        ConfigError: If ``plugins`` is invalid.

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
        self.plugins = plugins  # before the parent's, which builds the stages
        super().__init__(*args, **kwargs)

    def make_res_layer(self, **kwargs: Any) -> nn.Module:
        """Builds a stage, of blocks that take plugins if it has any."""
        plugins = self.make_stage_plugins(self.plugins, len(self.res_layers))
        return super().make_res_layer(plugins=plugins, **kwargs)
