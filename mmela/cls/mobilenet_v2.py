"""MMPreTrain's MobileNetV2 with plugins."""

from __future__ import annotations

from mmpretrain.models.backbones.mobilenet_v2 import InvertedResidual, MobileNetV2

from mmela.plugins.mobilenet import AppendedPlugins, PluginMobileNetV2
from mmela.registry import MODELS


class ClsInvertedResidual(AppendedPlugins, InvertedResidual):
    """MMPreTrain's inverted residual with plugins behind it."""


@MODELS.register_module()
class ClsMobileNetV2(PluginMobileNetV2, MobileNetV2):
    """MMPreTrain's MobileNetV2 with plugins in and behind its blocks.

    The places are those of :class:`mmela.plugins.mobilenet.PluginMobileNetV2`.

    Its checkpoints can initialise ``mmela.DetMobileNetV2`` and ``mmela.SegMobileNetV2`` with equal
    plugins: ``init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=...)``.

    Args:
        plugins: Entries ``dict(cfg=..., position=..., stages=...)``, see :mod:`mmela.plugins`.
            ``position`` is ``'after_depthwise'``, ``'after_block'`` or both.
        **kwargs: Arguments of ``mmpretrain.MobileNetV2``.

    Raises:
        ConfigError: If ``plugins`` is invalid.

    Examples:
        >>> import torch
        >>> plugins = [dict(cfg=dict(type='mmela.ELA'), position='after_depthwise')]
        >>> backbone = ClsMobileNetV2(widen_factor=0.5, plugins=plugins)
        >>> [tuple(out.shape) for out in backbone.eval()(torch.rand(1, 3, 64, 64))]
        [(1, 1280, 2, 2)]
    """

    plugin_blocks = {InvertedResidual: ClsInvertedResidual}
