"""MMDetection's MobileNetV2 with plugins."""

from __future__ import annotations

from typing import Any

from mmcv.cnn import ConvModule
from mmdet.models.backbones.mobilenet_v2 import MobileNetV2
from mmdet.models.layers import InvertedResidual

from mmela.plugins.mobilenet import PluginMobileNetV2, RunsPlugins
from mmela.registry import MODELS


class DetInvertedResidual(RunsPlugins, InvertedResidual):
    """MMDetection's inverted residual with plugins behind it."""


@MODELS.register_module()
class DetMobileNetV2(PluginMobileNetV2, MobileNetV2):
    """MMDetection's MobileNetV2 with plugins in and behind its blocks.

    .. code-block:: none

        x -> expand -> depthwise -> [after_depthwise] -> project -> (+ x) -> [after_block]

    Without plugins it is its parent: modules, state-dict keys and outputs. With plugins every key
    of the parent keeps its name, so the parent's checkpoints load.

    A backbone of MMPreTrain loads too, attention included: the same network, whose blocks number
    their convolutions (``layer2.0.conv.1``) where these name them (``layer2.0.depthwise_conv``).
    Such keys are renamed on the way in.

    Args:
        plugins: Entries ``dict(cfg=..., position=..., stages=...)`` as :mod:`mmela.plugins` says,
            with two positions. ``after_depthwise``, where the authors of ELA have it: behind the
            depthwise convolution, its norm and its ReLU6, before the projection, in the 16 blocks
            that widen their map first. ``after_block``: the last thing in a block, behind the
            addition where there is one, so that the next block's shortcut sees it too.
            ``stages`` counts ``layer1`` to ``layer7``, as ``out_indices`` does. The block of
            ``layer1`` does not widen: left out, ``stages`` means the other six for
            ``after_depthwise``.
        **kwargs: Everything that ``mmdet.MobileNetV2`` takes.

    Raises:
        ConfigError: If ``plugins`` is not in order, or asks for ``after_depthwise`` at ``layer1``.

    Examples:
        >>> import torch
        >>> plugins = [dict(cfg=dict(type='mmela.ELA'), position='after_depthwise')]
        >>> backbone = DetMobileNetV2(widen_factor=0.5, plugins=plugins)
        >>> [tuple(out.shape) for out in backbone.eval()(torch.rand(1, 3, 64, 64))]
        [(1, 16, 16, 16), (1, 16, 8, 8), (1, 48, 4, 4), (1, 1280, 2, 2)]
    """

    plugin_blocks = {InvertedResidual: DetInvertedResidual}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The dict is this module's own to change: whoever loads copies it for every module.
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
