"""MMPreTrain's MobileNetV2 with plugins."""

from __future__ import annotations

from mmpretrain.models.backbones.mobilenet_v2 import InvertedResidual, MobileNetV2

from mmela.plugins.mobilenet import PluginMobileNetV2, RunsPlugins
from mmela.registry import MODELS


class ClsInvertedResidual(RunsPlugins, InvertedResidual):
    """MMPreTrain's inverted residual with plugins behind it."""


@MODELS.register_module()
class ClsMobileNetV2(PluginMobileNetV2, MobileNetV2):
    """MMPreTrain's MobileNetV2 with plugins in and behind its blocks.

    .. code-block:: none

        x -> expand -> depthwise -> [after_depthwise] -> project -> (+ x) -> [after_block]

    Without plugins it is its parent: modules, state-dict keys and outputs. With plugins every key
    of the parent keeps its name, so the parent's checkpoints load.

    Its own checkpoints are a start for ``mmela.DetMobileNetV2`` and ``mmela.SegMobileNetV2`` with
    the same plugins: ``init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=...)``.

    Args:
        plugins: Entries ``dict(cfg=..., position=..., stages=...)`` as :mod:`mmela.plugins` says,
            with two positions. ``after_depthwise``, where the authors of ELA have it: behind the
            depthwise convolution, its norm and its ReLU6, before the projection, in the 16 blocks
            that widen their map first. ``after_block``: the last thing in a block, behind the
            addition where there is one, so that the next block's shortcut sees it too.
            ``stages`` counts ``layer1`` to ``layer7``, as ``out_indices`` does. The block of
            ``layer1`` does not widen: left out, ``stages`` means the other six for
            ``after_depthwise``.
        **kwargs: Everything that ``mmpretrain.MobileNetV2`` takes.

    Raises:
        ConfigError: If ``plugins`` is not in order, or asks for ``after_depthwise`` at ``layer1``.

    Examples:
        >>> import torch
        >>> plugins = [dict(cfg=dict(type='mmela.ELA'), position='after_depthwise')]
        >>> backbone = ClsMobileNetV2(widen_factor=0.5, plugins=plugins)
        >>> [tuple(out.shape) for out in backbone.eval()(torch.rand(1, 3, 64, 64))]
        [(1, 1280, 2, 2)]
    """

    plugin_blocks = {InvertedResidual: ClsInvertedResidual}
