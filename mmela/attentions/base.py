"""What every attention of mmela is: a map, weighed with gates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmela.attentions.arguments import check_count
from mmela.errors import ConfigError
from mmela.ops import apply_gates
from mmela.ops.reference import without_autocast


class Attention(BaseModule):
    """A layer that multiplies a map with gates, which it computes from the map.

    .. code-block:: none

        x (N, C, H, W) --> gates, each of which broadcasts against x --> x * gate_1 * gate_2 * ...

    A subclass computes the gates in :meth:`_gates`. They are computed in float32 (float64 for a
    float64 map), under autocast and with half precision parameters too, and are cast to the dtype
    of the map last.

    Args:
        in_channels: Channels C of the map.
        residual: What leaves the layer, ``a`` being the weighed map. ``False``: ``a``. ``True``:
            ``x + a``. ``'scaled'``: ``x + scale * a`` with a parameter ``scale`` of shape (C,)
            that starts at zero, so that the layer starts as the identity and spoils no pretrained
            weights.
        init_cfg: Initialization config of MMEngine.

    Raises:
        ConfigError: If an argument cannot be used.
    """

    def __init__(
        self,
        in_channels: int,
        residual: bool | Literal['scaled'] = False,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        check_count('in_channels', in_channels)
        # Membership alone would accept 0 and 1, which are equal to False and True.
        if not isinstance(residual, bool) and residual != 'scaled':
            raise ConfigError(
                f"residual must be False, True or 'scaled', and {residual!r} was given."
            )
        self.in_channels = int(in_channels)
        self.residual = residual
        if residual == 'scaled':
            self.scale = nn.Parameter(torch.zeros(self.in_channels))
        else:
            self.register_parameter('scale', None)

    def forward(self, x: Tensor) -> Tensor:
        """Weighs a map.

        Args:
            x: Feature map of shape (N, C, H, W).

        Returns:
            The attended map: shape, dtype, device and memory format of ``x``.

        Raises:
            ConfigError: If ``x`` is not of that shape.
        """
        self._check_input(x)
        with without_autocast(x):
            gates = self._gates(x)
        return apply_gates(x, *gates, scale=self.scale, residual=bool(self.residual))

    def gate(self, x: Tensor) -> tuple[Tensor, ...]:
        """The gates of a map, for looking at.

        They are those that ``forward`` would use. Looking leaves the running statistics of a
        BatchNorm alone, in training too.

        Args:
            x: Feature map of shape (N, C, H, W).

        Returns:
            The gates, values in (0, 1), float32 (float64 for a float64 map). Each broadcasts
            against ``x``, and their product is the attention map.

        Raises:
            ConfigError: If ``x`` is not of that shape.
        """
        self._check_input(x)
        with without_autocast(x), _running_statistics_at_rest(self):
            return self._gates(x)

    def _gates(self, x: Tensor) -> tuple[Tensor, ...]:
        """The gates of a map that was checked; autocast is off."""
        raise NotImplementedError

    def _check_input(self, x: Tensor) -> None:
        if x.dim() != 4 or x.size(1) != self.in_channels:
            raise ConfigError(
                f'{self._label} takes a map of shape (N, {self.in_channels}, H, W), and one of '
                f'shape {tuple(x.shape)} was given.'
            )

    @property
    def _label(self) -> str:
        return f'{type(self).__name__}({self.in_channels})'

    def extra_repr(self) -> str:
        """What the submodules do not show."""
        return f'residual={self.residual!r}'


@contextmanager
def _running_statistics_at_rest(module: nn.Module) -> Iterator[None]:
    """Lets BatchNorms in training use the statistics of the batch without keeping them."""
    norms = [
        norm
        for norm in module.modules()
        if isinstance(norm, _BatchNorm) and norm.training and norm.track_running_stats
    ]
    try:
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
