"""MMDetection's MobileNetV2 with plugins."""

from __future__ import annotations

from typing import Any

from mmcv.cnn import ConvModule
from mmdet.models.backbones.mobilenet_v2 import MobileNetV2
from mmdet.models.layers import InvertedResidual

from mmela.plugins.mobilenet import AppendedPlugins, PluginMobileNetV2
from mmela.registry import MODELS


class DetInvertedResidual(AppendedPlugins, InvertedResidual):
    """MMDetection's inverted residual with plugins behind it."""


@MODELS.register_module()
class DetMobileNetV2(PluginMobileNetV2, MobileNetV2):
    """MMDetection's MobileNetV2 with plugins in and behind its blocks.

    The places are those of :class:`mmela.plugins.mobilenet.PluginMobileNetV2`.

    A backbone of MMPreTrain loads too, its attention included. It is the same network, whose blocks
    number their convolutions (``layer2.0.conv.1``) where these name them
    (``layer2.0.depthwise_conv``); such keys are renamed when they are loaded.

    Args:
        plugins: Entries ``dict(cfg=..., position=..., stages=...)``, see :mod:`mmela.plugins`.
            ``position`` is ``'after_depthwise'``, ``'after_block'`` or both.
        **kwargs: Arguments of ``mmdet.MobileNetV2``.

    Raises:
        ConfigError: If ``plugins`` is invalid.

    Examples:
        >>> import torch
        >>> plugins = [dict(cfg=dict(type='mmela.ELA'), position='after_depthwise')]
        >>> backbone = DetMobileNetV2(widen_factor=0.5, plugins=plugins)
        >>> [tuple(out.shape) for out in backbone.eval()(torch.rand(1, 3, 64, 64))]
        [(1, 16, 16, 16), (1, 16, 8, 8), (1, 48, 4, 4), (1, 1280, 2, 2)]
    """

    plugin_blocks = {InvertedResidual: DetInvertedResidual}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # PyTorch gives each module a copy of the dict, which may be changed.
        for layer_name in self.layers[:-1]:  # the last one is `conv2`, which has no blocks
            for i, block in enumerate(getattr(self, layer_name)):
                convs = [n for n, child in block.named_children() if isinstance(child, ConvModule)]
                numbered = f'{prefix}{layer_name}.{i}.conv.'
                for key in [key for key in state_dict if key.startswith(numbered)]:
                    number, _, rest = key.removeprefix(numbered).partition('.')
                    if number.isdecimal() and int(number) < len(convs):
                        named = f'{prefix}{layer_name}.{i}.{convs[int(number)]}.{rest}'
                        state_dict[named] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)
