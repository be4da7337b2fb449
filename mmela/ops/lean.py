"""Efficient Local Attention that keeps nothing of full size but its input for backward.

Autograd records the formula step by step and so saves the map times ``y_h`` besides ``x``, and
makes about eighteen passes over full maps in backward. Here one function holds the whole layer:
it saves ``x``, strips and the parameters, and writes the gradient of ``x`` into one buffer. The
passes over the map are in :mod:`mmela.ops.blocks`, the work on strips is in
:mod:`mmela.ops.strip_gates`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmela.ops import blocks
from mmela.ops.reference import ela_reference
from mmela.ops.strip_gates import StripGates


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
) -> Tensor:
    """Efficient Local Attention with a hand-written backward.

    Where a graph of the gradient is asked for (``create_graph=True``), the gradient is that of the
    plain formula, so that it can be differentiated again.

    Arguments and result as in :func:`mmela.ops.ela`.
    """
    parameters = (conv_weight, gn_weight, gn_bias, scale)
    options: dict[str, Any] = dict(groups=groups, num_groups=num_groups, eps=eps)
    _, channels, height, width = x.shape
    if x.numel() == 0 or channels * min(height, width) == num_groups:
        # Groups of one element have a formula of their own, and a map of one row is a strip itself.
        return ela_reference(x, *parameters, residual=residual, **options)
    if not torch.is_grad_enabled():
        return _forward(x, *parameters, residual, options)[0]
    out: Tensor = _LeanELA.apply(x, *parameters, residual, options)
    return out


def _forward(
    x: Tensor,
    conv_weight: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    scale: Tensor | None,
    residual: bool,
    options: dict[str, Any],
) -> tuple[Tensor, Tensor, Tensor]:
    """The output, and the strips of both axes before and behind the convolution."""
    gates = StripGates(x, conv_weight, gn_weight, gn_bias, **options)
    z, u = gates.convolve(*blocks.strip_means(x))
    y_h, y_w = gates.normalise(u)
    if scale is not None:
        y_h = y_h * scale.to(y_h.dtype)[:, None]
    return blocks.weigh(x, y_h.to(x.dtype), y_w.to(x.dtype), residual), z, u


class _LeanELA(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        conv_weight: Tensor,
        gn_weight: Tensor,
        gn_bias: Tensor,
        scale: Tensor | None,
        residual: bool,
        options: dict[str, Any],
    ) -> Tensor:
        parameters = (conv_weight, gn_weight, gn_bias, scale)
        out, z, u = _forward(x, *parameters, residual, options)
        ctx.save_for_backward(x, z, u, *parameters)
        ctx.residual, ctx.options = residual, options
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, z, u, *parameters, scale = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *differentiable_backward(ctx, grad, [x, *parameters, scale]), None, None
        gates = StripGates(x, *parameters, **ctx.options)
        y_h, y_w = gates.normalise(u)
        factor = None if scale is None else scale.to(y_h.dtype)[:, None]
        scaled = y_h if factor is None else y_h * factor
        a, b = scaled.to(x.dtype), y_w.to(x.dtype)  # what the map was multiplied with

        grad_h, grad_w = blocks.product_sums(grad, x, a, b)
        grad_scale = None
        if factor is not None:
            grad_scale = (grad_h * y_h).sum((0, 2))
            grad_h = grad_h * factor
        strips, *grads = gates.backward(grad_h, grad_w, z, ctx.needs_input_grad[:4])
        grad_x = None
        if strips is not None:
            grad_z_h, grad_z_w = strips
            grad_x = blocks.map_gradient(grad, x, a, b, grad_z_h, grad_z_w, ctx.residual)
        return grad_x, *grads, grad_scale, None, None


def differentiable_backward(ctx: Any, grad: Tensor, inputs: list[Any]) -> tuple[Tensor | None, ...]:
    """The gradients by the plain formula, as a graph that can be differentiated again.

    Args:
        ctx: Context with ``options``, ``residual`` and ``needs_input_grad`` of a layer.
        grad: Gradient of its output.
        inputs: The map and the parameters.
    """
    wanted = [t for t, wants in zip(inputs, ctx.needs_input_grad, strict=False) if wants]
    out = ela_reference(*inputs, residual=ctx.residual, **ctx.options)
    found = iter(torch.autograd.grad(out, wanted, grad, create_graph=True))
    return (*(next(found) if wants else None for wants in ctx.needs_input_grad[:5]),)
