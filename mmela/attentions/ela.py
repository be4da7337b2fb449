"""Efficient Local Attention as a layer, registered as ``mmela.ELA``."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from mmela.attentions.arguments import check_count, check_kernel_size, divisor
from mmela.attentions.base import Attention
from mmela.errors import ConfigError, did_you_mean
from mmela.ops import ela, ela_gates
from mmela.registry import MODELS


class Variant(NamedTuple):
    """The three numbers in which the versions of ELA differ (paper, section 3.4)."""

    kernel_size: int
    channels_per_conv_group: int
    num_groups: int


#: T and B convolve each channel for itself, S and L let channels meet in C / 8 groups of 8.
VARIANTS = {
    'T': Variant(5, 1, 32),
    'B': Variant(7, 1, 16),
    'S': Variant(5, 8, 16),
    'L': Variant(7, 8, 16),
}


@MODELS.register_module()
class ELA(Attention):
    """Efficient Local Attention.

    Paper: Xu and Wan, "ELA: Efficient Local Attention for Deep Convolutional Neural Networks",
    arXiv 2403.01123. Each axis is pooled into a strip, a 1D convolution and a GroupNorm that both
    axes share turn the strips into two position gates, and the map is multiplied by both:

    .. code-block:: none

        x (N, C, H, W) --mean over W--> (N, C, H) --conv--gn--sigmoid--> y_h (N, C, H, 1)
                       --mean over H--> (N, C, W) --conv--gn--sigmoid--> y_w (N, C, 1, W)
        out = x * y_h * y_w

    ======= =========== =========== ========= ==========
    variant kernel_size conv groups GN groups parameters
    ======= =========== =========== ========= ==========
    T       5           C           32        7 C
    B       7           C           16        9 C
    S       5           C / 8       16        42 C
    L       7           C / 8       16        58 C
    ======= =========== =========== ========= ==========

    The gates are computed in float32 (float64 for a float64 map), under autocast and with half
    precision parameters too, and are cast to the dtype of the map last.

    Args:
        in_channels: Channels C of the map.
        variant: ``'T'``, ``'B'``, ``'S'`` or ``'L'``.
        kernel_size: Odd length of the convolution, in place of the variant's.
        groups: Groups of the convolution, in place of the variant's.
        num_groups: Groups of the normalisation, in place of the variant's.
        residual: What leaves the layer. ``False``, the paper: ``x * y_h * y_w``. ``True``, what
            the authors do on pretrained ResNets: ``x + x * y_h * y_w``. ``'scaled'``, ours:
            ``x + scale * (x * y_h * y_w)`` with a parameter ``scale`` of shape (C,) that starts
            at zero, so that the layer starts as the identity and spoils no pretrained weights.
        strict: Whether a group count that does not divide C is an error. Otherwise the largest
            divisor of C below it is taken, and a warning says so once.
        fused: ``'auto'`` takes fused kernels where there are any, ``False`` never, ``True``
            insists on them.
        init_cfg: Initialization config of MMEngine.

    Raises:
        ConfigError: If an argument cannot be used.

    Examples:
        >>> import torch
        >>> layer = ELA(64, variant='T')
        >>> layer(torch.rand(2, 64, 32, 48)).shape
        torch.Size([2, 64, 32, 48])
        >>> sum(p.numel() for p in layer.parameters()) == 7 * 64
        True
    """

    _abbr_ = 'ela'

    def __init__(
        self,
        in_channels: int,
        variant: str = 'B',
        *,
        kernel_size: int | None = None,
        groups: int | None = None,
        num_groups: int | None = None,
        residual: bool | Literal['scaled'] = False,
        strict: bool = False,
        fused: bool | Literal['auto'] = 'auto',
        init_cfg: Any = None,
    ) -> None:
        super().__init__(in_channels, residual, init_cfg)
        if variant not in VARIANTS:
            raise ConfigError(
                f'ELA has no variant {variant!r}; the variants are {", ".join(VARIANTS)}'
                + did_you_mean(str(variant).upper(), VARIANTS)
            )
        if not isinstance(fused, bool) and fused != 'auto':
            raise ConfigError(f"fused must be 'auto', True or False, and {fused!r} was given.")

        default = VARIANTS[variant]
        kernel_size = default.kernel_size if kernel_size is None else kernel_size
        check_kernel_size(kernel_size)
        if groups is None:
            groups = in_channels // default.channels_per_conv_group  # 0 for the narrowest maps
        else:
            check_count('groups', groups)
        if num_groups is None:
            num_groups = default.num_groups
        else:
            check_count('num_groups', num_groups)

        self.variant = variant
        self.fused = fused
        groups = divisor(self._label, 'groups', groups, in_channels, strict)
        num_groups = divisor(self._label, 'num_groups', num_groups, in_channels, strict)
        self.conv = nn.Conv1d(
            in_channels,
            in_channels,
            kernel_size,
            padding=kernel_size // 2,
            groups=groups,
            bias=False,
        )
        self.gn = nn.GroupNorm(num_groups, in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Weighs a map by position.

        Args:
            x: Feature map of shape (N, C, H, W).

        Returns:
            The attended map: shape, dtype, device and memory format of ``x``.

        Raises:
            ConfigError: If ``x`` is not of that shape, or ``fused=True`` cannot be had.
        """
        self._check_input(x)
        conv, gn = self.conv, self.gn  # a module looks its own up by name: once is enough
        return ela(
            x,
            conv.weight,
            gn.weight,
            gn.bias,
            self.scale,
            groups=conv.groups,
            num_groups=gn.num_groups,
            residual=bool(self.residual),
            eps=gn.eps,
            fused=self.fused,
        )

    def gate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The two gates of a map, for looking at.

        Args:
            x: Feature map of shape (N, C, H, W).

        Returns:
            ``y_h`` of shape (N, C, H, 1) and ``y_w`` of shape (N, C, 1, W), values in (0, 1),
            float32 (float64 for a float64 map). Their product is the attention map.
        """
        self._check_input(x)
        return ela_gates(
            x,
            self.conv.weight,
            self.gn.weight,
            self.gn.bias,
            groups=self.conv.groups,
            num_groups=self.gn.num_groups,
            eps=self.gn.eps,
        )

    def extra_repr(self) -> str:
        """What the submodules do not show."""
        return f'variant={self.variant!r}, {super().extra_repr()}, fused={self.fused!r}'
