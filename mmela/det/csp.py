"""MMDetection's CSP backbones with plugins: CSPDarknet of YOLOX and CSPNeXt of RTMDet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.models.backbones.csp_darknet import CSPDarknet as _CSPDarknet
from mmdet.models.backbones.cspnext import CSPNeXt as _CSPNeXt
from torch import Tensor

from mmela.plugins import PluginNetwork, add_plugins, parse_plugins, plugins_at, run_plugins
from mmela.registry import MODELS


class PluginCSP(PluginNetwork):
    """Mixin in front of a CSP backbone: plugins behind its stages and on its outputs.

    .. code-block:: none

        x -> stem -> stage1 -> [after_stage] -> stage2 -> [after_stage] -+-> stage3 -> ...
                                                                         |
                                                                    [on_output]
                                                                         |
                                                                        neck

    A layer ``after_stage`` is the last one of that stage, ``stage2.ela``: the next stage and the
    neck both see its output, and it is frozen with the stage. A layer ``on_output``,
    ``ela_on_output_stage2``, does not belong to the stage: only the neck sees its output, and
    freezing the stage does not freeze the layer. ``stages`` counts from ``stage1``, without the
    stem: four in the arrangement P5, five in P6. ``on_output`` exists at the stages in
    ``out_indices``, which are its default; the stem takes no plugins even where it is an output.

    Without plugins the network is its parent: modules, state-dict keys and outputs. With plugins
    every key of the parent keeps its name, so the parent's checkpoints load.
    """

    def __init__(
        self, *args: Any, plugins: Sequence[Mapping[str, Any]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        stages = self.layers[1:]
        is_output = [i in self.out_indices for i in range(1, len(self.layers))]
        parsed = parse_plugins(
            plugins,
            owner=self._owner,
            positions=('after_stage', 'on_output'),
            num_stages=len(stages),
            available={'on_output': (is_output, f'out_indices={tuple(self.out_indices)}')},
            allow_several=True,
        )
        self._output_plugin_names: dict[str, list[str]] = {}
        for i, name in enumerate(stages):
            stage = getattr(self, name)
            width = stage[-1].final_conv.conv.out_channels  # a stage ends in a CSP layer
            add_plugins(stage, plugins_at(parsed, 'after_stage', i), width)
            self._output_plugin_names[name] = add_plugins(
                self, plugins_at(parsed, 'on_output', i), width, suffix=f'_on_output_{name}'
            )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """As the parent, with the plugins on the outputs.

        Args:
            x: Images of shape (N, 3, H, W).

        Returns:
            The maps of the output stages, finest first.
        """
        names = [name for i, name in enumerate(self.layers) if i in self.out_indices]
        return tuple(
            run_plugins(self, self._output_plugin_names.get(name, ()), out)
            for name, out in zip(names, super().forward(x), strict=True)
        )


@MODELS.register_module()
class CSPDarknet(PluginCSP, _CSPDarknet):
    """MMDetection's CSPDarknet, the backbone of YOLOX, with plugins; see :class:`PluginCSP`.

    Args:
        plugins: Entries ``dict(cfg=..., position=..., stages=...)``, see :mod:`mmela.plugins`.
            ``position`` is ``'after_stage'``, ``'on_output'`` or both.
        **kwargs: Arguments of ``mmdet.CSPDarknet``.

    Raises:
        ConfigError: If ``plugins`` is invalid.

    Examples:
        >>> import torch
        >>> plugins = [dict(cfg=dict(type='mmela.ELA', variant='T'), position='after_stage',
        ...                 stages=(False, True, True, True))]
        >>> backbone = CSPDarknet(deepen_factor=0.33, widen_factor=0.25, plugins=plugins)
        >>> [tuple(out.shape) for out in backbone.eval()(torch.rand(1, 3, 64, 64))]
        [(1, 64, 8, 8), (1, 128, 4, 4), (1, 256, 2, 2)]
    """


@MODELS.register_module()
class CSPNeXt(PluginCSP, _CSPNeXt):
    """MMDetection's CSPNeXt, the backbone of RTMDet, with plugins; see :class:`PluginCSP`.

    The stages have a channel attention of their own (``channel_attention=False`` removes it); the
    plugins come behind it.

    Args:
        plugins: Entries ``dict(cfg=..., position=..., stages=...)``, see :mod:`mmela.plugins`.
            ``position`` is ``'after_stage'``, ``'on_output'`` or both.
        **kwargs: Arguments of ``mmdet.CSPNeXt``.

    Raises:
        ConfigError: If ``plugins`` is invalid.

    Examples:
        >>> import torch
        >>> plugins = [dict(cfg=dict(type='mmela.ELA'), position='on_output')]
        >>> backbone = CSPNeXt(deepen_factor=0.167, widen_factor=0.375, plugins=plugins)
        >>> [tuple(out.shape) for out in backbone.eval()(torch.rand(1, 3, 64, 64))]
        [(1, 96, 8, 8), (1, 192, 4, 4), (1, 384, 2, 2)]
    """
