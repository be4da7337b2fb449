"""The entry to the layer: chooses the implementation for the input."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from mmela.errors import ConfigError
from mmela.ops.lean import ela_lean
from mmela.ops.recompute import note_output
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

    In eager mode one autograd function computes the layer, :func:`mmela.ops.ela_lean`. Whatever
    reads or transforms the program gets the formula in standard operators, whatever ``fused`` is:
    ``torch.compile``, ``torch.export``, ONNX export, ``torch.jit.trace``, ``torch.func``,
    forward-mode differentiation, tensor subclasses and the meta device.

    Args:
        x: Feature map of shape (N, C, H, W).
        conv_weight: Weight of the convolution that both axes share, shape (C, C // groups, k)
            with k odd.
        gn_weight: Weight of the normalisation that both axes share, shape (C,).
        gn_bias: Its bias, shape (C,).
        scale: Optional factor per channel of the weighed map, shape (C,).
        groups: Groups of the convolution.
        num_groups: Groups of the normalisation.
        residual: Whether ``x`` is added to the weighed map.
        eps: Added to the variance of a group.
        fused: ``True`` runs the passes over the map as Triton kernels, ``False`` in PyTorch.
            ``'auto'`` takes the kernels where a measurement on a GPU is committed that shows
            them right and faster. There is none so far, so ``'auto'`` is ``False``.

    Returns:
        ``[x +] [scale *] x * y_h * y_w``: shape, dtype, device and memory format of ``x``.

    Raises:
        ConfigError: If ``fused=True`` and the kernels cannot run on this input, or if the kernel
            size is even.
    """
    parameters = [p for p in (conv_weight, gn_weight, gn_bias, scale) if p is not None]
    exporting = _is_exporting()
    eager = not (exporting or is_compiling() or x.is_meta or _is_transformed()) and all(
        type(t) in (Tensor, Parameter) for t in (x, *parameters)
    )
    if not eager:
        implementation: Callable[..., Tensor] = ela_reference
    elif fused is True:
        implementation = _with_kernels(x, parameters)
    else:
        implementation = ela_lean
    if not exporting and conv_weight.size(2) % 2 == 0:
        raise ConfigError(
            f'ELA: expected conv_weight with an odd kernel size, got {conv_weight.size(2)}.'
        )

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


def kernels_unavailable(x: Tensor) -> str | None:
    """Why the Triton kernels cannot run on a map.

    Args:
        x: Feature map of shape (N, C, H, W).

    Returns:
        A clause for an error message, or None where they can run.
    """
    try:
        import triton
    except Exception as error:  # a broken installation raises anything
        return f'Triton cannot be imported ({error}); pip install "triton>=3.2" installs it'
    if tuple(int(part) for part in triton.__version__.split('.')[:2]) < (3, 2):
        return f'they need Triton 3.2 or newer, got {triton.__version__}'
    if not x.is_cuda and not (x.is_cpu and os.environ.get('TRITON_INTERPRET') == '1'):
        return f'they run on CUDA devices, and the map is on {x.device}'
    if x.is_cuda and torch.version.cuda and torch.cuda.get_device_capability(x.device) < (8, 0):
        return f'{torch.cuda.get_device_name(x.device)} is older than compute capability 8.0'
    _, channels, height, width = x.shape
    longest = max(height, width)
    if longest > 2**20 or max(4 * height * width, channels * longest) >= 2**31:
        return f'their 32-bit indices do not cover a map of shape {tuple(x.shape)}'
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        return f'they take maps of floating point numbers, and this one is {x.dtype}'
    return None


def _with_kernels(x: Tensor, parameters: list[Tensor]) -> Callable[..., Tensor]:
    cause = kernels_unavailable(x)
    if cause is None and any(p.device != x.device for p in parameters):
        cause = f'the map is on {x.device}, and parameters are on another device'
    if cause is not None:
        raise ConfigError(
            f"fused=True asks for the Triton kernels, but {cause}; fused='auto' or False runs "
            'without them.'
        )
    from mmela.ops import triton_passes  # Triton is imported when the kernels are asked for

    return partial(ela_lean, passes=triton_passes)


def _never() -> bool:
    return False


def _old_dynamo_is_compiling() -> bool:
    return 'torch._dynamo' in sys.modules and torch._dynamo.is_compiling()


# `torch.compiler.is_compiling` came with torch 2.3, `is_exporting` with 2.7; mmela also runs on
# older ones.
_compiler = getattr(torch, 'compiler', None)
is_compiling: Callable[[], bool] = getattr(_compiler, 'is_compiling', _old_dynamo_is_compiling)
#: Whether the compiler takes the attributes of a module for what they are.
COMPILER_READS_MODULES = hasattr(_compiler, 'is_compiling')
_is_torch_export: Callable[[], bool] = getattr(_compiler, 'is_exporting', _never)


def _is_exporting() -> bool:
    return torch.jit.is_tracing() or torch.onnx.is_in_onnx_export() or _is_torch_export()


def _is_transformed() -> bool:
    """Whether ``torch.func`` or forward-mode differentiation is at work.

    They cannot look into a hand-written backward, and differentiate the formula.
    """
    return forward_ad._current_level >= 0 or _transform_stack() is not None


try:  # not public, but there is no other test
    _transform_stack: Callable[[], Any] = torch._C._functorch.peek_interpreter_stack
except AttributeError:

    def _transform_stack() -> None:
        return None
