"""MMSegmentation's ResNet with plugins at every depth."""

from __future__ import annotations

from typing import Any

from mmseg.models.backbones.resnet import BasicBlock, Bottleneck, ResNet

from mmela.plugins.residual import PluginBasicBlock, PluginBottleneck, PluginResNet
from mmela.registry import MODELS


class SegBasicBlock(PluginBasicBlock, BasicBlock):
    """MMSegmentation's basic block with plugins."""


class SegBottleneck(PluginBottleneck, Bottleneck):
    """MMSegmentation's bottleneck, which chains several plugins at one position."""


@MODELS.register_module()
class SegResNet(PluginResNet, ResNet):
    """MMSegmentation's ResNet, whose depths 18 and 34 take plugins as 50, 101 and 152 do.

    Without plugins it is its parent: modules, state-dict keys and outputs. With plugins every key
    of the parent keeps its name, so the parent's checkpoints load. Several plugins at one position
    are chained; MMSegmentation's own bottleneck gives each of them the same input and keeps only
    the output of the last one.

    Args:
        depth: 18, 34, 50, 101 or 152.
        plugins: Entries ``dict(cfg=..., position=..., stages=...)``, see :mod:`mmela.plugins`, at
            the positions of :class:`mmela.plugins.residual.PluginResNet`.
        **kwargs: Other arguments of ``mmseg.ResNet``.

    Raises:
        ConfigError: If ``plugins`` is invalid.
    """

    plugin_blocks = {BasicBlock: SegBasicBlock, Bottleneck: SegBottleneck}


@MODELS.register_module()
class SegResNetV1c(SegResNet):
    """``mmseg.ResNetV1c`` with plugins: its stem has three 3x3 convolutions in place of a 7x7 one.

    Args:
        **kwargs: As :class:`SegResNet`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(deep_stem=True, avg_down=False, **kwargs)
