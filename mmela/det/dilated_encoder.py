"""MMDetection's DilatedEncoder, the neck of YOLOF, with plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.models.necks.dilated_encoder import DilatedEncoder as _DilatedEncoder
from torch import Tensor

from mmela.plugins import Plugin, add_plugins, init_with_plugins, parse_plugins, run_plugins
from mmela.registry import MODELS

#: The spots at which the layer of a position runs.
_SPOTS = {
    'inputs': ('inputs',),
    'after_projector': ('after_projector',),
    'before_block': ('before_block',),
    'after_block': ('after_block',),
    'around_block': ('before_block', 'after_block'),
}


@MODELS.register_module()
class DilatedEncoder(_DilatedEncoder):
    """MMDetection's DilatedEncoder with plugins on its input, its projector and its blocks.

    .. code-block:: none

        C5 -[inputs]- lateral and fpn conv -[after_projector]-+
                                                              |
         +----------------------------------------------------+
         |
         +-[before_block]- dilated block 0 -[after_block]- ... -> out

    At ``around_block`` one and the same layer runs before a block and after it.

    Without plugins the encoder is its parent: modules, state-dict keys and outputs. With plugins
    every key of the parent keeps its name.

    The authors of ELA attend C5 and the projected map, and have one layer each around the first
    three of four blocks, always as ``x + ELA(x)`` (their ``YOLOF/models/yolof/encoder.py``):

    .. code-block:: python

        ela = dict(type='mmela.ELA', variant='T', residual=True)
        plugins=[dict(cfg=ela, position=('inputs', 'after_projector')),
                 dict(cfg=ela, position='around_block', stages=(True, True, True, False))]

    Args:
        plugins: Entries ``dict(cfg=..., position=..., stages=...)`` as :mod:`mmela.plugins` says.
            ``position`` is one or several of ``'inputs'``, ``'after_projector'``,
            ``'before_block'``, ``'after_block'``, ``'around_block'``; at the last three
            ``stages`` holds one bool for each dilated block. The layers are named after what
            they are and where: ``ela_inputs``, ``ela_around_block_0``.
        **kwargs: Everything that ``mmdet.DilatedEncoder`` takes.

    Raises:
        ConfigError: If ``plugins`` is not in order.

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
            owner=f'mmela.{type(self).__name__}',
            positions=tuple(_SPOTS),
            num_stages={p: num_blocks if _is_of_blocks(p) else 1 for p in _SPOTS},
            allow_several=True,
        )
        # Names and not the layers themselves, so that a deep copy runs its own.
        self._plugin_names: dict[tuple[str, int], list[str]] = {}
        for plugin in parsed:
            for i, wanted in enumerate(plugin.stages):
                if wanted:
                    self._add_plugin(plugin, i)

    def _add_plugin(self, plugin: Plugin, place: int) -> None:
        position = plugin.position
        width = self.in_channels if position == 'inputs' else self.out_channels
        suffix = f'_{position}_{place}' if _is_of_blocks(position) else f'_{position}'
        names = add_plugins(self, [plugin], width, suffix)
        for spot in _SPOTS[position]:
            self._plugin_names.setdefault((spot, place), []).extend(names)

    def init_weights(self) -> None:
        """As the parent, and initialises the plugins that can do it themselves."""
        # The parent is no BaseModule: MMEngine's recursion ends here. Its rule that sets every
        # norm in the blocks to 1 does not reach the plugins, which stand beside the blocks.
        init_with_plugins(super().init_weights, self.children())

    def _attend(self, x: Tensor, spot: str, place: int = 0) -> Tensor:
        return run_plugins(self, self._plugin_names.get((spot, place), ()), x)

    def forward(self, feature: Sequence[Tensor]) -> tuple[Tensor]:
        """The parent's encoder with the plugins at their places.

        Args:
            feature: Maps, of which the last, of shape (N, in_channels, H, W), is encoded.

        Returns:
            One map of shape (N, out_channels, H, W).
        """
        if not self._plugin_names:
            return super().forward(feature)
        x = self._attend(feature[-1], 'inputs')
        x = self.lateral_norm(self.lateral_conv(x))
        x = self.fpn_norm(self.fpn_conv(x))
        x = self._attend(x, 'after_projector')
        for i, block in enumerate(self.dilated_encoder_blocks):
            x = block(self._attend(x, 'before_block', i))
            x = self._attend(x, 'after_block', i)
        return (x,)


def _is_of_blocks(position: str) -> bool:
    """Whether a position is there once for each dilated block."""
    return position.endswith('_block')
