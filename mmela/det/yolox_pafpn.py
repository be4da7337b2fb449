"""MMDetection's YOLOXPAFPN, the neck of YOLOX, with plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.necks.yolox_pafpn import YOLOXPAFPN as _YOLOXPAFPN
from torch import Tensor

from mmela.errors import ConfigError
from mmela.plugins import Plugin, add_plugins, parse_plugins, plugins_at, run_plugins
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

    The output of a plugin on an input replaces that input both for the reducing convolution and for
    the concatenation. Without plugins the neck is its parent: modules, state-dict keys and outputs.
    With plugins every key of the parent keeps its name.

    The authors of ELA use one layer for each width at all of these places (``YOLOX/nets/yolo.py``
    of their repository), which is one entry:

    .. code-block:: python

        plugins=[dict(cfg=dict(type='mmela.ELA', variant='T'),
                      position=('inputs', 'after_concat'), share=True)]

    Args:
        plugins: Entries ``dict(cfg=..., position=..., stages=..., share=...)``, see
            :mod:`mmela.plugins`. ``position`` is ``'inputs'``, ``'after_concat'`` or both.
            ``stages`` holds a bool for each input, finest first, or for each concatenation, in the
            order in which they run: top-down, then bottom-up. With ``share=True`` one layer serves
            all places of an entry that have the same width. The layers are named after their type
            and place, ``ela_inputs_0`` and ``ela_after_concat_3``, and shared ones after their
            width, ``ela_64``.
        **kwargs: Arguments of ``mmdet.YOLOXPAFPN``.

    Raises:
        ConfigError: If ``plugins`` is invalid.

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
        self._plugin_names: dict[tuple[str, int], list[str]] = {}
        shared: dict[tuple[str, int], str] = {}
        for position, places in widths.items():
            for i, width in enumerate(places):
                self._plugin_names[position, i] = [
                    self._add_plugin(plugin, i, width, shared)
                    for plugin in plugins_at(parsed, position, i)
                ]

    def _add_plugin(
        self, plugin: Plugin, place: int, width: int, shared: dict[tuple[str, int], str]
    ) -> str:
        """Adds the layer of an entry at a place, unless a shared one exists; returns its name."""
        if not plugin.share:
            return add_plugins(self, [plugin], width, f'_{plugin.position}_{place}')[0]
        key = (plugin.label, width)
        if key not in shared:
            shared[key] = add_plugins(self, [plugin], width, f'_{width}')[0]
        return shared[key]

    def _run_plugins(self, x: Tensor, position: str, place: int) -> Tensor:
        return run_plugins(self, self._plugin_names[position, place], x)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """As the parent, with the plugins at their places.

        Args:
            inputs: Maps of shape (N, in_channels[i], H / 2**i, W / 2**i).

        Returns:
            Maps of shape (N, out_channels, H / 2**i, W / 2**i).

        Raises:
            ConfigError: If there are more or fewer maps than ``in_channels`` has entries.
        """
        if not any(self._plugin_names.values()):
            return super().forward(inputs)
        if len(inputs) != len(self.in_channels):
            raise ConfigError(
                f'mmela.{type(self).__name__}: expected {len(self.in_channels)} maps, as '
                f'in_channels={self.in_channels}, got {len(inputs)}; name as many stages in '
                'out_indices of the backbone.'
            )
        levels = [self._run_plugins(x, 'inputs', i) for i, x in enumerate(inputs)]
        x, num_steps = levels[-1], len(levels) - 1

        reduced = []  # coarsest first
        for i in range(num_steps):
            reduced.append(self.reduce_layers[i](x))
            x = torch.cat([self.upsample(reduced[i]), levels[-2 - i]], 1)
            x = self.top_down_blocks[i](self._run_plugins(x, 'after_concat', i))

        outs = [x]
        for i in range(num_steps):
            x = torch.cat([self.downsamples[i](x), reduced[-1 - i]], 1)
            x = self.bottom_up_blocks[i](self._run_plugins(x, 'after_concat', num_steps + i))
            outs.append(x)
        return tuple(conv(out) for conv, out in zip(self.out_convs, outs, strict=True))
