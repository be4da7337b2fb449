"""MMDetection's CSPDarknet, the backbone of YOLOX, with plugins."""

from __future__ import annotations

from mmdet.models.backbones.csp_darknet import CSPDarknet as _CSPDarknet

from mmela.det.csp import PluginCSP
from mmela.registry import MODELS


@MODELS.register_module()
class CSPDarknet(PluginCSP, _CSPDarknet):
    """MMDetection's CSPDarknet with plugins behind its stages and on its outputs.

    Without plugins it is its parent: modules, state-dict keys and outputs. With plugins every key
    of the parent keeps its name. :class:`mmela.det.csp.PluginCSP` has a drawing of the places.

    Args:
        plugins: Entries ``dict(cfg=..., position=..., stages=...)`` as :mod:`mmela.plugins` says.
            ``position`` is ``'after_stage'`` (the next stage and the neck both see the result),
            ``'on_output'`` (the neck alone) or both. ``stages`` counts from stage1, without the
            stem: four in the arrangement P5, five in P6. ``on_output`` exists at the stages in
            ``out_indices`` and means all of them where ``stages`` is left out.
        **kwargs: Everything that ``mmdet.CSPDarknet`` takes.

    Raises:
        ConfigError: If ``plugins`` is not in order.

    Examples:
        >>> import torch
        >>> plugins = [dict(cfg=dict(type='mmela.ELA', variant='T'), position='after_stage',
        ...                 stages=(False, True, True, True))]
        >>> backbone = CSPDarknet(deepen_factor=0.33, widen_factor=0.25, plugins=plugins)
        >>> [tuple(out.shape) for out in backbone.eval()(torch.rand(1, 3, 64, 64))]
        [(1, 64, 8, 8), (1, 128, 4, 4), (1, 256, 2, 2)]
    """
