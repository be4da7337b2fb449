"""MMSegmentation's MobileNetV2 with plugins."""

from __future__ import annotations

from typing import Any

from mmseg.models.backbones.mobilenet_v2 import MobileNetV2
from mmseg.models.utils import InvertedResidual

from mmela.plugins.mobilenet import PluginMobileNetV2, RunsPlugins
from mmela.registry import MODELS


class SegInvertedResidual(RunsPlugins, InvertedResidual):
    """MMSegmentation's inverted residual with plugins behind it."""


@MODELS.register_module()
class SegMobileNetV2(PluginMobileNetV2, MobileNetV2):
    """MMSegmentation's MobileNetV2 with plugins in and behind its blocks.

    .. code-block:: none

        x -> expand -> depthwise -> [after_depthwise] -> project -> (+ x) -> [after_block]

    Without plugins it is its parent: modules, state-dict keys and outputs. With plugins every key
    of the parent keeps its name, so the parent's checkpoints load, ``pretrained=`` included.

    A backbone of MMPreTrain loads too, attention included. It ends in one convolution more,
    ``conv2`` with the 1,280 channels of the classifier, which is left out on the way in.

    Args:
        plugins: Entries ``dict(cfg=..., position=..., stages=...)`` as :mod:`mmela.plugins` says,
            with two positions. ``after_depthwise``, where the authors of ELA have it: behind the
            depthwise convolution, its norm and its ReLU6, before the projection, in the 16 blocks
            that widen their map first. ``after_block``: the last thing in a block, behind the
            addition where there is one, so that the next block's shortcut sees it too.
            ``stages`` counts ``layer1`` to ``layer7``, as ``out_indices`` does. The block of
            ``layer1`` does not widen: left out, ``stages`` means the other six for
            ``after_depthwise``.
        **kwargs: Everything that ``mmseg.MobileNetV2`` takes.

    Raises:
        ConfigError: If ``plugins`` is not in order, or asks for ``after_depthwise`` at ``layer1``.
    """

    plugin_blocks = {InvertedResidual: SegInvertedResidual}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The dict is this module's own to change: whoever loads copies it for every module.
        for key in [key for key in state_dict if key.startswith(f'{prefix}conv2.')]:
            del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args)
