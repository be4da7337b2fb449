"""MMDetection's CSPNeXt, the backbone of RTMDet, with plugins."""

from __future__ import annotations

from mmdet.models.backbones.cspnext import CSPNeXt as _CSPNeXt

from mmela.det.csp import PluginCSP
from mmela.registry import MODELS


@MODELS.register_module()
class CSPNeXt(PluginCSP, _CSPNeXt):
    """MMDetection's CSPNeXt with plugins behind its stages and on its outputs.

    Without plugins it is its parent: modules, state-dict keys and outputs. With plugins every key
    of the parent keeps its name. :class:`mmela.det.csp.PluginCSP` has a drawing of the places.

    Each stage has a channel attention of its own inside (``channel_attention=False`` leaves it
    out); the plugins come behind it.

    Args:
        plugins: Entries ``dict(cfg=..., position=..., stages=...)`` as :mod:`mmela.plugins` says.
            ``position`` is ``'after_stage'`` (the next stage and the neck both see the result),
            ``'on_output'`` (the neck alone) or both. ``stages`` counts from stage1, without the
            stem: four in the arrangement P5, five in P6. ``on_output`` exists at the stages in
            ``out_indices`` and means all of them where ``stages`` is left out.
        **kwargs: Everything that ``mmdet.CSPNeXt`` takes.

    Raises:
        ConfigError: If ``plugins`` is not in order.

    Examples:
        >>> import torch
        >>> plugins = [dict(cfg=dict(type='mmela.ELA'), position='on_output')]
        >>> backbone = CSPNeXt(deepen_factor=0.167, widen_factor=0.375, plugins=plugins)
        >>> [tuple(out.shape) for out in backbone.eval()(torch.rand(1, 3, 64, 64))]
        [(1, 96, 8, 8), (1, 192, 4, 4), (1, 384, 2, 2)]
    """
