"""MMSegmentation's MobileNetV2 with plugins."""

from __future__ import annotations

from typing import Any

from mmseg.models.backbones.mobilenet_v2 import MobileNetV2
from mmseg.models.utils import InvertedResidual

from mmela.plugins.mobilenet import AppendedPlugins, PluginMobileNetV2
from mmela.registry import MODELS


class SegInvertedResidual(AppendedPlugins, InvertedResidual):
    """MMSegmentation's inverted residual with plugins behind it."""


@MODELS.register_module()
class SegMobileNetV2(PluginMobileNetV2, MobileNetV2):
    """MMSegmentation's MobileNetV2 with plugins in and behind its blocks.

    The places are those of :class:`mmela.plugins.mobilenet.PluginMobileNetV2`.

    The parent's checkpoints load with ``pretrained=`` too. A backbone of MMPreTrain loads as well,
    its attention included; its last convolution, ``conv2`` with the 1,280 channels of the
    classifier, does not exist here and is left out.

    Args:
        plugins: Entries ``dict(cfg=..., position=..., stages=...)``, see :mod:`mmela.plugins`.
            ``position`` is ``'after_depthwise'``, ``'after_block'`` or both.
        **kwargs: Arguments of ``mmseg.MobileNetV2``.

    Raises:
        ConfigError: If ``plugins`` is invalid.
    """

    plugin_blocks = {InvertedResidual: SegInvertedResidual}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # PyTorch gives each module a copy of the dict, which may be changed.
        for key in [key for key in state_dict if key.startswith(f'{prefix}conv2.')]:
            del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args)
