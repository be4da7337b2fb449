"""MMSegmentation's ResNet with plugins at every depth, chained where one place holds several."""

from __future__ import annotations

from typing import Any

from mmseg.models.backbones.resnet import BasicBlock, Bottleneck, ResNet

from mmela.plugins.residual import PluginBasicBlock, PluginBottleneck, PluginResNet
from mmela.registry import MODELS


class SegBasicBlock(PluginBasicBlock, BasicBlock):
    """MMSegmentation's basic block with plugins."""


class SegBottleneck(PluginBottleneck, Bottleneck):
    """MMSegmentation's bottleneck with plugins, several at one position included."""


@MODELS.register_module()
class SegResNet(PluginResNet, ResNet):
    """MMSegmentation's ResNet, whose depths 18 and 34 take plugins as 50, 101 and 152 do.

    Without plugins it is its parent: modules, state-dict keys and outputs. With plugins every key
    of the parent keeps its name, so the parent's checkpoints load. Several plugins at one
    position are chained; MMSegmentation's own bottleneck hands each of them the same input and
    keeps the last one's output.

    Args:
        depth: 18, 34, 50, 101 or 152.
        plugins: Entries ``dict(cfg=..., position=..., stages=...)`` as :mod:`mmela.plugins` says,
            at the positions ``after_conv1``, ``after_conv2`` and, in the bottlenecks of 50 and
            deeper, ``after_conv3``: behind that convolution's norm and activation, the last one
            before the addition.
        **kwargs: Everything else that ``mmseg.ResNet`` takes.

    Raises:
        ConfigError: If ``plugins`` is not in order.
    """

    plugin_blocks = {BasicBlock: SegBasicBlock, Bottleneck: SegBottleneck}


@MODELS.register_module()
class SegResNetV1c(SegResNet):
    """``mmseg.ResNetV1c`` with plugins: the stem has three 3x3 convolutions in place of one 7x7.

    Args:
        **kwargs: As :class:`SegResNet`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(deep_stem=True, avg_down=False, **kwargs)
