"""Efficient Local Attention as a layer, registered as ``mmela.ELA``."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mmela.attentions.arguments import check_count, check_kernel_size, divisor
from mmela.attentions.base import Attention
from mmela.attentions.gate_layers import run
from mmela.errors import ConfigError, did_you_mean
from mmela.ops import apply_gates, ela, ela_gates, strip_means
from mmela.ops.dispatch import COMPILER_READS_MODULES, is_compiling
from mmela.ops.reference import without_autocast
from mmela.registry import MODELS


class Variant(NamedTuple):
    """The three numbers that differ between the variants of ELA (paper, section 3.4)."""

    kernel_size: int
    channels_per_conv_group: int
    num_groups: int


#: T and B use a depthwise convolution, S and L one with C / 8 groups of 8 channels.
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
    arXiv 2403.01123. Each axis is pooled into a strip. A 1D convolution and a GroupNorm, which both
    axes share, turn the strips into two position gates, and the map is multiplied by both:

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

    The gates are computed in float32 (float64 for a float64 map), also under autocast and with half
    precision parameters, and are cast to the dtype of the map last.

    The layer reads the weights of ``conv`` and ``gn`` and computes everything in one autograd
    function (:func:`mmela.ops.ela`). Children that were wrapped, replaced or given hooks (FSDP,
    LoRA, quantization) are called instead, and the formula is computed step by step.

    Args:
        in_channels: Channels C of the map.
        variant: ``'T'``, ``'B'``, ``'S'`` or ``'L'``.
        kernel_size: Odd length of the convolution, in place of the variant's.
        groups: Groups of the convolution, in place of the variant's.
        num_groups: Groups of the normalisation, in place of the variant's.
        residual: The output of the layer. ``False``, the paper: ``x * y_h * y_w``. ``True``, as
            the authors do on pretrained ResNets: ``x + x * y_h * y_w``. ``'scaled'``, ours:
            ``x + scale * (x * y_h * y_w)`` with a parameter ``scale`` of shape (C,) that starts
            at zero: the layer starts as the identity, so a pretrained network starts where it
            was.
        strict: Whether a group count that does not divide C is an error. Otherwise the largest
            divisor of C below it is used, with a warning.
        fused: ``True`` runs the passes over the map as Triton kernels, ``False`` in PyTorch.
            ``'auto'`` uses the kernels where a committed measurement on a GPU shows them faster;
            there is none yet, so it is ``False``. See :func:`mmela.ops.ela`.
        init_cfg: Initialization config of MMEngine.

    Raises:
        ConfigError: If an argument is invalid.

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
                f'variant: expected one of {", ".join(VARIANTS)}, got {variant!r}'
                + did_you_mean(str(variant).upper(), VARIANTS)
            )
        if not isinstance(fused, bool) and fused != 'auto':
            raise ConfigError(f"fused: expected 'auto', True or False, got {fused!r}.")

        in_channels, default = int(in_channels), VARIANTS[variant]
        kernel_size = check_kernel_size(default.kernel_size if kernel_size is None else kernel_size)
        if groups is None:
            groups = in_channels // default.channels_per_conv_group  # 0 for the narrowest maps
        else:
            groups = check_count('groups', groups)
        if num_groups is None:
            num_groups = default.num_groups
        else:
            num_groups = check_count('num_groups', num_groups)

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
        """Multiplies a map by its gates.

        Args:
            x: Feature map of shape (N, C, H, W).

        Returns:
            The map with attention: shape, dtype, device and memory format of ``x``.

        Raises:
            ConfigError: If ``x`` has another shape, or if ``fused=True`` and the kernels cannot
                run on ``x``.
        """
        self._check_input(x)
        conv, gn, residual = self.conv, self.gn, bool(self.residual)
        if not _are_plain(conv, gn):
            gates = self._gates_of_children(x)
            return apply_gates(x, *gates, scale=self.scale, residual=residual)
        return ela(
            x,
            conv.weight,
            gn.weight,
            gn.bias,
            self.scale,
            groups=conv.groups,
            num_groups=gn.num_groups,
            residual=residual,
            eps=gn.eps,
            fused=self.fused,
        )

    def gate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the two gates of a map, for inspection.

        Args:
            x: Feature map of shape (N, C, H, W).

        Returns:
            ``y_h`` of shape (N, C, H, 1) and ``y_w`` of shape (N, C, 1, W), values in (0, 1),
            float32 (float64 for a float64 map). Their product is the attention map.

        Raises:
            ConfigError: If ``x`` has another shape.
        """
        self._check_input(x)
        conv, gn = self.conv, self.gn
        if not _are_plain(conv, gn):
            return self._gates_of_children(x)
        return ela_gates(
            x,
            conv.weight,
            gn.weight,
            gn.bias,
            groups=conv.groups,
            num_groups=gn.num_groups,
            eps=gn.eps,
        )

    def _gates_of_children(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The gates by calls of ``conv`` and ``gn``, whatever they are."""

        def gate(z: Tensor) -> Tensor:
            u = run(self.conv, z)
            if u.size(0) == 1 and u.size(2) == 1:
                # `nn.GroupNorm` refuses a batch of one whose groups hold one element; a batch of
                # two such samples has the same statistics.
                return run(self.gn, torch.cat([u, u]))[: u.size(0)].sigmoid()
            return run(self.gn, u).sigmoid()

        with without_autocast(x):
            z_h, z_w = strip_means(x)
            return gate(z_h).unsqueeze(3), gate(z_w).unsqueeze(2)

    def extra_repr(self) -> str:
        """The arguments that the submodules do not show."""
        return f'variant={self.variant!r}, {super().extra_repr()}, fused={self.fused!r}'


def _are_plain(conv: nn.Module, gn: nn.Module) -> bool:
    """Whether reading the weights of both children gives the same as calling them."""
    return (
        _is_plain(conv, nn.Conv1d)
        and _is_plain(gn, nn.GroupNorm)
        and conv._parameters.get('bias') is None
    )


def _is_plain(child: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a child is the module itself or its parametrization, and nothing watches it."""
    if child._forward_hooks or child._forward_pre_hooks:
        return False
    if (COMPILER_READS_MODULES or not is_compiling()) and 'forward' in child.__dict__:
        return False
    if child._backward_hooks or getattr(child, '_backward_pre_hooks', None):  # torch 2.0
        return False
    if type(child) is kind:
        # No DTensor, no quantized tensor. A look-up by attribute would cost a microsecond.
        return type(child._parameters.get('weight')) in (nn.Parameter, Tensor)
    return 'parametrizations' in child._modules and type(child).__bases__ == (kind,)
