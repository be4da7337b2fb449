"""Efficient Local Attention as one autograd function that keeps no map but its input.

Autograd records the formula step by step: it saves the map times ``y_h`` besides ``x``, and makes
about eighteen passes over full maps in backward. Here one function holds the whole layer. It saves
``x``, strips and the parameters, and writes the gradient of ``x`` into one buffer.

The layer consists of strips, which :mod:`mmela.ops.strip_gates` computes on any device, and of four
passes over the full map: ``strip_means`` and ``weigh`` forward, ``product_sums`` and
``map_gradient`` backward. There are two sets of passes with the same functions,
:mod:`mmela.ops.map_passes` in PyTorch and :mod:`mmela.ops.triton_passes` as Triton kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmela.ops import map_passes
from mmela.ops.formula_gradients import formula_gradients, wants_formula
from mmela.ops.reference import ela_reference, has_groups_of_one, without_autocast
from mmela.ops.strip_gates import StripConvolution, StripGates, StripPair


def ela_lean(
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
    passes: ModuleType = map_passes,
) -> Tensor:
    """Efficient Local Attention with a hand-written backward.

    Where a graph of the gradient is asked for (``create_graph=True``), and under ``vmap``, the
    gradient is that of the formula. Some sums of the PyTorch passes are matrix products, whose
    precision in float32 follows ``torch.set_float32_matmul_precision``.

    Args:
        x: Feature map of shape (N, C, H, W).
        conv_weight: Shape (C, C // groups, k).
        gn_weight: Shape (C,).
        gn_bias: Shape (C,).
        scale: Shape (C,), or None.
        groups: Groups of the convolution.
        num_groups: Groups of the normalisation.
        residual: Whether ``x`` is added.
        eps: Added to the variance of a group.
        passes: The passes over the full map: :mod:`mmela.ops.map_passes` or
            :mod:`mmela.ops.triton_passes`.

    Returns:
        As :func:`mmela.ops.ela`.
    """
    parameters = (conv_weight, gn_weight, gn_bias, scale)
    formula: dict[str, Any] = dict(groups=groups, num_groups=num_groups, residual=residual, eps=eps)
    _, channels, height, width = x.shape
    if x.numel() == 0 or has_groups_of_one(channels, min(height, width), num_groups):
        # Nothing to save: such a map is empty, or a strip itself.
        return ela_reference(x, *parameters, **formula)
    options = _Options(passes, **formula)
    if not torch.is_grad_enabled():
        return _forward(options, x, *parameters)[0]
    out: Tensor = _LeanELA.apply(options, x, *parameters)
    return out


class _Options(NamedTuple):
    passes: Any
    groups: int
    num_groups: int
    residual: bool
    eps: float


def _forward(
    options: _Options,
    x: Tensor,
    conv_weight: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    scale: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The output, and the strips of both axes before and after the convolution."""
    passes = options.passes
    pair = StripPair(x.size(2), x.size(3), conv_weight.size(2))
    with without_autocast(x):
        z, u = StripConvolution(pair, conv_weight, options.groups).forward(*passes.strip_means(x))
        gates = StripGates(pair, u, gn_weight, gn_bias, options.num_groups, options.eps)
        y_h = gates.h if scale is None else gates.h * scale.to(gates.h.dtype)[:, None]
        return passes.weigh(x, y_h.to(x.dtype), gates.w.to(x.dtype), options.residual), z, u


class _LeanELA(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        options: _Options,
        x: Tensor,
        conv_weight: Tensor,
        gn_weight: Tensor,
        gn_bias: Tensor,
        scale: Tensor | None,
    ) -> Tensor:
        parameters = (conv_weight, gn_weight, gn_bias, scale)
        out, z, u = _forward(options, x, *parameters)
        ctx.save_for_backward(x, *parameters, z, u)
        ctx.options = options
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, z, u = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        if wants_formula(grad):
            formula = ctx.options._asdict()
            del formula['passes']
            return None, *formula_gradients(grad, inputs, wanted, **formula)
        with without_autocast(grad):
            return None, *_backward(ctx.options, grad, inputs, z, u, wanted)


def _backward(
    options: _Options,
    grad: Tensor,
    inputs: list[Any],
    z: Tensor,
    u: Tensor,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """The gradients of the map and the four parameters; None for those not asked for."""
    x, conv_weight, gn_weight, gn_bias, scale = inputs
    pair = StripPair(x.size(2), x.size(3), conv_weight.size(2))
    gates = StripGates(pair, u, gn_weight, gn_bias, options.num_groups, options.eps)
    factor = None if scale is None else scale.to(gates.h.dtype)[:, None]
    scaled = gates.h if factor is None else gates.h * factor
    y_h, y_w = scaled.to(x.dtype), gates.w.to(x.dtype)  # what the map was multiplied with

    grad_h, grad_w = options.passes.product_sums(grad, x, y_h, y_w)
    grad_scale = None
    if factor is not None:
        if wanted[4]:
            grad_scale = (grad_h * gates.h).sum((0, 2))
        grad_h = grad_h * factor
    grad_u, grad_gn_weight, grad_gn_bias = gates.backward(grad_h, grad_w, *wanted[2:4])
    convolution = StripConvolution(pair, conv_weight, options.groups)
    grad_strips, grad_conv_weight = convolution.backward(grad_u, z, *wanted[:2])
    grad_x = None
    if grad_strips is not None:
        grad_z_h, grad_z_w = grad_strips
        grad_x = options.passes.map_gradient(
            grad, x, y_h, y_w, grad_z_h, grad_z_w, options.residual
        )
    return grad_x, grad_conv_weight, grad_gn_weight, grad_gn_bias, grad_scale
