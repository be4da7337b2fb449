"""One entry to the layer: chooses the implementation for the input at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from mmela.errors import ConfigError
from mmela.ops.fused import unavailable
from mmela.ops.lean import ela_lean
from mmela.ops.recompute import note_output
from mmela.ops.reference import ela_reference

Fused = bool | Literal['auto']

if hasattr(torch.library, 'custom_op'):
    from mmela.ops.fused.library import ela_operator
else:  # torch before 2.4: `unavailable` says so
    ela_operator = ela_reference


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
        fused: ``'auto'`` takes the fused kernels on CUDA where they can serve the map, ``False``
            never, ``True`` insists on them. Tracers and exporters get the plain formula in any
            case.

    Returns:
        ``[x +] [scale *] x * y_h * y_w``: shape, dtype, device and memory format of ``x``.

    Raises:
        ConfigError: If ``fused=True`` cannot be had for this input, or the kernel size is even.
    """
    parameters = [p for p in (conv_weight, gn_weight, gn_bias, scale) if p is not None]
    compiling = _is_compiling()
    # Fake tensors and other kinds have no memory that a kernel could read, but operators.
    eager = not compiling and all(type(t) in (Tensor, Parameter) for t in (x, *parameters))
    implementation: Callable[..., Tensor]
    if _is_exported() or _is_transformed(compiling):
        implementation = ela_reference
    elif conv_weight.size(2) % 2 == 0:
        raise ConfigError(
            'The convolution of ELA needs an odd kernel size, and conv_weight has '
            f'{conv_weight.size(2)} taps.'
        )
    elif _takes_kernels(x, conv_weight, groups, num_groups, fused, eager):
        implementation = _ela_fused() if eager else ela_operator
    else:
        # A compiler fuses the plain formula better than a backward it cannot see into.
        implementation = ela_lean if eager else ela_reference

    def compute(x: Tensor) -> Tensor:
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

    out = compute(x)
    if eager:
        note_output(out, x, parameters, compute)
    return out


def _takes_kernels(
    x: Tensor, conv_weight: Tensor, groups: int, num_groups: int, fused: Fused, eager: bool
) -> bool:
    if fused is False or (fused == 'auto' and not x.is_cuda):
        return False
    reason = unavailable(x, conv_weight, groups, num_groups, probe=eager)
    if reason is not None and fused is True:
        raise ConfigError(
            f"fused=True asks for the fused kernels, but {reason}; fused='auto' takes them where "
            'they can be had.'
        )
    return reason is None


def _ela_fused() -> Any:
    # Triton is imported when the first map asks for it, not with mmela.
    from mmela.ops.fused.autograd import ela_fused

    return ela_fused


def _never() -> bool:
    return False


# `torch.compiler.is_compiling` came with torch 2.3, `is_exporting` with 2.7; mmela runs beside
# older ones too.
_compiler = getattr(torch, 'compiler', None)
_is_compiling: Callable[[], bool] = getattr(_compiler, 'is_compiling', _never)
_is_exporting: Callable[[], bool] = getattr(_compiler, 'is_exporting', _never)


def _is_exported() -> bool:
    """Whether a tracer or exporter is reading the program.

    They need the plain formula, which consists of standard operators.
    """
    # The flag behind `is_exporting`: compilers before torch 2.12 take the function for true.
    exporting = getattr(_compiler, '_is_exporting_flag', None)
    if exporting is None:
        exporting = _is_exporting()
    return torch.jit.is_tracing() or torch.onnx.is_in_onnx_export() or exporting


def _is_transformed(compiling: bool) -> bool:
    """Whether a transform of ``torch.func`` or forward-mode differentiation is at work.

    They cannot look into a hand-written backward, and differentiate the formula. While a compiler
    traces, the stack of transforms is no answer; those of forward mode show all the same.
    """
    return forward_ad._current_level >= 0 or (not compiling and _transform_stack() is not None)


try:  # not public, and the only way to tell
    _transform_stack: Callable[[], Any] = torch._C._functorch.peek_interpreter_stack
except AttributeError:

    def _transform_stack() -> None:
        return None
