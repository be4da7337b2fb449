"""The base class of all attentions: a map that is multiplied by gates."""

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
    """A layer that computes gates from a map and multiplies the map by them.

    .. code-block:: none

        x (N, C, H, W) --> gates, each of which broadcasts against x --> x * gate_1 * gate_2 * ...

    To write an attention of your own, subclass this and implement :meth:`_gates`. The residual
    forms, the check of the input, :meth:`gate`, attention maps and the load report come with it;
    ``_abbr_`` names the layer in state dicts.

    Args:
        in_channels: Channels C of the map.
        residual: The output of the layer, where ``a`` is ``x`` times the gates. ``False``: ``a``.
            ``True``: ``x + a``. ``'scaled'``: ``x + scale * a`` with a parameter ``scale`` of shape
            (C,) that starts at zero: the layer starts as the identity, so a pretrained network
            starts where it was.
        init_cfg: Initialization config of MMEngine.

    Raises:
        ConfigError: If an argument is invalid.

    Examples:
        >>> import torch
        >>> class MeanGate(Attention):
        ...     _abbr_ = 'mean_gate'
        ...     def _gates(self, x):
        ...         return (torch.sigmoid(x.float().mean((2, 3), keepdim=True)),)  # (N, C, 1, 1)
        >>> MeanGate(64, residual='scaled')(torch.rand(2, 64, 32, 48)).shape
        torch.Size([2, 64, 32, 48])
    """

    def __init__(
        self,
        in_channels: int,
        residual: bool | Literal['scaled'] = False,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = check_count('in_channels', in_channels)
        # Membership alone would accept 0 and 1, which are equal to False and True.
        if not isinstance(residual, bool) and residual != 'scaled':
            raise ConfigError(f"residual: expected False, True or 'scaled', got {residual!r}.")
        self.residual = residual
        if residual == 'scaled':
            self.scale = nn.Parameter(torch.zeros(self.in_channels))
        else:
            self.register_parameter('scale', None)

    def forward(self, x: Tensor) -> Tensor:
        """Multiplies a map by its gates.

        Args:
            x: Feature map of shape (N, C, H, W).

        Returns:
            The map with attention: shape, dtype, device and memory format of ``x``.

        Raises:
            ConfigError: If ``x`` has another shape.
        """
        self._check_input(x)
        with without_autocast(x):
            gates = self._gates(x)
        return apply_gates(x, *gates, scale=self.scale, residual=bool(self.residual))

    def gate(self, x: Tensor) -> tuple[Tensor, ...]:
        """Returns the gates that ``forward`` uses, for inspection.

        The running statistics of a BatchNorm do not change, in training mode either.

        Args:
            x: Feature map of shape (N, C, H, W).

        Returns:
            The gates, values in (0, 1), float32 (float64 for a float64 map). Each broadcasts
            against ``x``, and their product is the attention map.

        Raises:
            ConfigError: If ``x`` has another shape.
        """
        self._check_input(x)
        with without_autocast(x), _frozen_running_statistics(self):
            return self._gates(x)

    def _gates(self, x: Tensor) -> tuple[Tensor, ...]:
        """Computes the gates of a map; to be implemented by subclasses.

        Gates are computed in float32, in float64 for a float64 map, whatever the dtype of the
        parameters: see :func:`mmela.ops.reference.gate_dtype` for the dtype and
        :func:`mmela.attentions.gate_layers.run` to run a layer in it. ``forward`` casts them to the
        dtype of the map.

        Args:
            x: Feature map of shape (N, C, H, W). Its shape was checked, and autocast is off.

        Returns:
            One or several gates, each of which broadcasts against ``x``: (N, C, 1, 1) for a gate
            per channel, (N, 1, H, W) per place, (N, C, H, 1) per channel and row.
        """
        raise NotImplementedError

    def _check_input(self, x: Tensor) -> None:
        if x.dim() != 4 or x.size(1) != self.in_channels:
            raise ConfigError(
                f'{self._label}: expected a map of shape (N, {self.in_channels}, H, W), got '
                f'{tuple(x.shape)}; set in_channels to the width of the map.'
            )

    @property
    def _label(self) -> str:
        return f'{type(self).__name__}({self.in_channels})'

    def extra_repr(self) -> str:
        """The arguments that the submodules do not show."""
        return f'residual={self.residual!r}'


@contextmanager
def _frozen_running_statistics(module: nn.Module) -> Iterator[None]:
    """Makes BatchNorms in training mode use the statistics of the batch without storing them."""
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
