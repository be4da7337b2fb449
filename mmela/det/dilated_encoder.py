"""MMDetection's DilatedEncoder, the neck of YOLOF, with plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.models.necks.dilated_encoder import DilatedEncoder as _DilatedEncoder
from torch import Tensor

from mmela.plugins import PluginNetwork, add_plugins, parse_plugins, run_plugins
from mmela.registry import MODELS

#: Where the layer of each position runs.
_PLACES = {
    'inputs': ('inputs',),
    'after_projector': ('after_projector',),
    'before_block': ('before_block',),
    'after_block': ('after_block',),
    'around_block': ('before_block', 'after_block'),
}


@MODELS.register_module()
class DilatedEncoder(PluginNetwork, _DilatedEncoder):
    """MMDetection's DilatedEncoder with plugins on its input, its projector and its blocks.

    .. code-block:: none

        C5 -[inputs]- lateral and fpn conv -[after_projector]-+
                                                              |
         +----------------------------------------------------+
         |
         +-[before_block]- dilated block 0 -[after_block]- ... -> out

    At ``around_block`` the same layer runs before a block and after it.

    Without plugins the encoder is its parent: modules, state-dict keys and outputs. With plugins
    every key of the parent keeps its name.

    The authors of ELA have a layer on C5, one on the projected map, and one around each of the
    first three of four blocks, all as ``x + ELA(x)`` (``YOLOF/models/yolof/encoder.py`` of their
    repository):

    .. code-block:: python

        ela = dict(type='mmela.ELA', variant='T', residual=True)
        plugins=[dict(cfg=ela, position=('inputs', 'after_projector')),
                 dict(cfg=ela, position='around_block', stages=(True, True, True, False))]

    Args:
        plugins: Entries ``dict(cfg=..., position=..., stages=...)``, see :mod:`mmela.plugins`.
            ``position`` is one or several of ``'inputs'``, ``'after_projector'``,
            ``'before_block'``, ``'after_block'``, ``'around_block'``; at the last three ``stages``
            holds a bool for each dilated block. The layers are named after their type and place:
            ``ela_inputs``, ``ela_around_block_0``.
        **kwargs: Arguments of ``mmdet.DilatedEncoder``.

    Raises:
        ConfigError: If ``plugins`` is invalid.

    Examples:
        >>> import torch
        >>> plugins = [dict(cfg=dict(type='mmela.ELA', residual=True), position='around_block',
        ...                 stages=(True, False))]
        >>> encoder = DilatedEncoder(64, 32, 8, num_residual_blocks=2, block_dilations=[2, 4],
        ...                          plugins=plugins)
        >>> [name for name, _ in encoder.named_children() if 'ela' in name]
        ['ela_around_block_0']
        >>> [tuple(out.shape) for out in encoder((torch.rand(2, 64, 8, 8),))]
        [(2, 32, 8, 8)]
    """

    def __init__(self, *args: Any, plugins: Sequence[dict] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        num_blocks = len(self.dilated_encoder_blocks)
        parsed = parse_plugins(
            plugins,
            owner=self._owner,
            positions=tuple(_PLACES),
            num_stages={p: num_blocks if p.endswith('_block') else 1 for p in _PLACES},
            allow_several=True,
        )
        self._plugin_names: dict[tuple[str, int], list[str]] = {}
        for plugin in parsed:
            position = plugin.position
            width = self.in_channels if position == 'inputs' else self.out_channels
            for i, is_used in enumerate(plugin.stages):
                if is_used:
                    number = f'_{i}' if position.endswith('_block') else ''
                    names = add_plugins(self, [plugin], width, f'_{position}{number}')
                    for place in _PLACES[position]:
                        self._plugin_names.setdefault((place, i), []).extend(names)

    def _run_plugins(self, x: Tensor, place: str, block: int = 0) -> Tensor:
        return run_plugins(self, self._plugin_names.get((place, block), ()), x)

    def forward(self, feature: Sequence[Tensor]) -> tuple[Tensor]:
        """As the parent, with the plugins at their places.

        Args:
            feature: Maps, of which the last, of shape (N, in_channels, H, W), is encoded.

        Returns:
            One map of shape (N, out_channels, H, W).
        """
        if not self._plugin_names:
            return super().forward(feature)
        x = self._run_plugins(feature[-1], 'inputs')
        x = self.lateral_norm(self.lateral_conv(x))
        x = self.fpn_norm(self.fpn_conv(x))
        x = self._run_plugins(x, 'after_projector')
        for i, block in enumerate(self.dilated_encoder_blocks):
            x = block(self._run_plugins(x, 'before_block', i))
            x = self._run_plugins(x, 'after_block', i)
        return (x,)
