"""MMDetection's YOLOXPAFPN, the neck of YOLOX, with plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.necks.yolox_pafpn import YOLOXPAFPN as _YOLOXPAFPN
from torch import Tensor

from mmela.errors import ConfigError
from mmela.plugins import Plugin, add_plugins, at, parse_plugins, run_plugins
from mmela.registry import MODELS


@MODELS.register_module()
class YOLOXPAFPN(_YOLOXPAFPN):
    """MMDetection's YOLOXPAFPN with plugins on its inputs and behind its concatenations.

    The places in a neck of three inputs, ``i0`` to ``i2`` on the inputs and ``c0`` to ``c3``
    behind the concatenations:

    .. code-block:: none

        C5 -i2- reduce -+-------------------------------------------------- concat -c3- CSP -> P5
                        up                                                    down
        C4 -i1------- concat -c0- CSP - reduce -+----------- concat -c2- CSP -+--------------> P4
                                                up             down
        C3 -i0------------------------------- concat -c1- CSP -+-----------------------------> P3

    An attended input is all that the neck sees of it: the reducing convolution and the
    concatenation both get it. Without plugins the neck is its parent: modules, state-dict keys and
    outputs. With plugins every key of the parent keeps its name.

    The authors of ELA put one layer a width at all of these places (their ``YOLOX/nets/yolo.py``),
    which is one entry:

    .. code-block:: python

        plugins=[dict(cfg=dict(type='mmela.ELA', variant='T'),
                      position=('inputs', 'after_concat'), share=True)]

    Args:
        plugins: Entries ``dict(cfg=..., position=..., stages=..., share=...)`` as
            :mod:`mmela.plugins` says. ``position`` is ``'inputs'``, ``'after_concat'`` or both;
            ``stages`` holds one bool for each input, finest first, or for each concatenation, the
            top-down ones first, in the order in which they run. With ``share=True`` one layer
            serves the places of an entry that have equal width. The layers are named after what
            they are and where: ``ela_inputs_0``, ``ela_after_concat_3``; shared ones after their
            width: ``ela_64``.
        **kwargs: Everything that ``mmdet.YOLOXPAFPN`` takes.

    Raises:
        ConfigError: If ``plugins`` is not in order.

    Examples:
        >>> import torch
        >>> plugins = [dict(cfg=dict(type='mmela.ELA', variant='T'),
        ...                 position=('inputs', 'after_concat'), share=True)]
        >>> neck = YOLOXPAFPN([64, 128, 256], 64, num_csp_blocks=1, plugins=plugins)
        >>> [name for name, _ in neck.named_children() if 'ela' in name]
        ['ela_64', 'ela_128', 'ela_256']
        >>> inputs = torch.rand(1, 64, 8, 8), torch.rand(1, 128, 4, 4), torch.rand(1, 256, 2, 2)
        >>> [tuple(out.shape) for out in neck.eval()(inputs)]
        [(1, 64, 8, 8), (1, 64, 4, 4), (1, 64, 2, 2)]
    """

    def __init__(self, *args: Any, plugins: Sequence[dict] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        lower = self.in_channels[:-1]
        widths = {
            'inputs': self.in_channels,
            'after_concat': [2 * width for width in (*reversed(lower), *lower)],
        }
        parsed = parse_plugins(
            plugins,
            owner=f'mmela.{type(self).__name__}',
            positions=tuple(widths),
            num_stages={position: len(places) for position, places in widths.items()},
            allow_several=True,
            allow_share=True,
        )
        # Names and not the layers themselves, so that a deep copy runs its own.
        self._plugin_names: dict[tuple[str, int], list[str]] = {}
        shared: dict[tuple[str, int], str] = {}
        for position, places in widths.items():
            for i, width in enumerate(places):
                names = [
                    self._add_plugin(plugin, i, width, shared) for plugin in at(parsed, position, i)
                ]
                if names:
                    self._plugin_names[position, i] = names

    def _add_plugin(
        self, plugin: Plugin, place: int, width: int, shared: dict[tuple[str, int], str]
    ) -> str:
        """The name of the layer of an entry at a place, which is built unless it is there."""
        if not plugin.share:
            return add_plugins(self, [plugin], width, f'_{plugin.position}_{place}')[0]
        key = (plugin.label, width)
        if key not in shared:
            shared[key] = add_plugins(self, [plugin], width, f'_{width}')[0]
        return shared[key]

    def _attend(self, x: Tensor, position: str, place: int) -> Tensor:
        return run_plugins(self, self._plugin_names.get((position, place), ()), x)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The parent's neck with the plugins at their places.

        Args:
            inputs: Maps of shape (N, in_channels[i], H / 2**i, W / 2**i).

        Returns:
            Maps of shape (N, out_channels, H / 2**i, W / 2**i).

        Raises:
            ConfigError: If there are not as many maps as ``in_channels`` has entries.
        """
        if not self._plugin_names:
            return super().forward(inputs)
        if len(inputs) != len(self.in_channels):
            raise ConfigError(
                f'mmela.{type(self).__name__} has in_channels={self.in_channels} and was given '
                f'{len(inputs)} maps; the out_indices of the backbone have to name as many.'
            )
        levels = [self._attend(x, 'inputs', i) for i, x in enumerate(inputs)]
        x, num_steps = levels[-1], len(levels) - 1

        reduced = []  # coarsest first
        for i in range(num_steps):
            reduced.append(self.reduce_layers[i](x))
            x = torch.cat([self.upsample(reduced[i]), levels[-2 - i]], 1)
            x = self.top_down_blocks[i](self._attend(x, 'after_concat', i))

        outs = [x]
        for i in range(num_steps):
            x = torch.cat([self.downsamples[i](x), reduced[-1 - i]], 1)
            x = self.bottom_up_blocks[i](self._attend(x, 'after_concat', num_steps + i))
            outs.append(x)
        return tuple(conv(out) for conv, out in zip(self.out_convs, outs, strict=True))
