"""One entry to the layer: chooses the implementation for the input at hand."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmela.errors import ConfigError
from mmela.ops.lean import ela_lean
from mmela.ops.reference import ela_reference

Fused = bool | Literal['auto']


def ela(
    x: Tensor,
    conv_weight: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    scale: Tensor | None = None,
    *,
    groups: int,
    num_groups: int,
    residual: bool = False,
    eps: float = 1e-5,
    fused: Fused = 'auto',
) -> Tensor:
    """Efficient Local Attention as a function (paper, section 3.3).

    Args:
        x: Feature map of shape (N, C, H, W).
        conv_weight: Weight of the convolution that both axes share, shape (C, C // groups, k)
            with k odd.
        gn_weight: Weight of the normalisation that both axes share, shape (C,).
        gn_bias: Its bias, shape (C,).
        scale: Optional factor per channel of the attended map, shape (C,).
        groups: Groups of the convolution.
        num_groups: Groups of the normalisation.
        residual: Whether ``x`` is added to the attended map.
        eps: Added to the variance of a group.
        fused: ``'auto'`` takes fused kernels where there are any, ``False`` never, ``True``
            insists on them.

    Returns:
        ``[x +] [scale *] x * y_h * y_w``: shape, dtype, device and memory format of ``x``.

    Raises:
        ConfigError: If ``fused=True`` cannot be had for this input.
    """
    if fused is True:
        raise ConfigError(
            'fused=True asks for fused kernels, and this version of mmela has none yet; '
            "use fused='auto', which takes them where they exist."
        )
    implementation = ela_reference if _is_captured() else ela_lean
    return implementation(
        x,
        conv_weight,
        gn_weight,
        gn_bias,
        scale,
        groups=groups,
        num_groups=num_groups,
        residual=residual,
        eps=eps,
    )


def _is_captured() -> bool:
    """Whether a compiler, tracer or exporter is reading the program.

    They need the plain formula: it consists of standard operators, and a compiler fuses it better
    than it could fuse a hand-written backward that it cannot see into.
    """
    tracing = torch.jit.is_tracing()
    return tracing or torch.onnx.is_in_onnx_export() or _is_compiling()


def _is_compiling() -> bool:
    # `torch.compiler.is_compiling` came with torch 2.3; mmela runs beside older ones too.
    probe = getattr(getattr(torch, 'compiler', None), 'is_compiling', None)
    return bool(probe and probe())
