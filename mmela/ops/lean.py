"""Efficient Local Attention that keeps nothing of full size but its input for backward.

Autograd records the formula step by step and so saves the map times ``y_h`` besides ``x``, and
makes about eighteen passes over full maps in backward. Here one function holds the whole layer:
it saves ``x`` and the parameters, recomputes the gates (vectors) in backward, and writes the
gradient of ``x`` into one buffer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmela.ops.reference import (
    axis_gate,
    ela_reference,
    gate_dtype,
    strip_means,
    without_autocast,
)


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
    return _LeanELA.apply(
        x, conv_weight, gn_weight, gn_bias, scale, groups, num_groups, residual, eps
    )


def _gates(
    z_h: Tensor,
    z_w: Tensor,
    conv_weight: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    scale: Tensor | None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Strips to gates, (N, C, H) and (N, C, W), with the scale folded into the first."""
    y_h = axis_gate(z_h, conv_weight, gn_weight, gn_bias, **options)
    y_w = axis_gate(z_w, conv_weight, gn_weight, gn_bias, **options)
    if scale is not None:
        y_h = y_h * scale.to(y_h.dtype)[:, None]
    return y_h, y_w


class _LeanELA(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        conv_weight: Tensor,
        gn_weight: Tensor,
        gn_bias: Tensor,
        scale: Tensor | None,
        groups: int,
        num_groups: int,
        residual: bool,
        eps: float,
    ) -> Tensor:
        options: dict[str, Any] = dict(groups=groups, num_groups=num_groups, eps=eps)
        parameters = (conv_weight, gn_weight, gn_bias, scale)
        z_h, z_w = strip_means(x)
        y_h, y_w = _gates(z_h, z_w, *parameters, **options)

        out = x * y_h.to(x.dtype).unsqueeze(3)  # (N, C, H, W), the only full-size allocation
        out.mul_(y_w.to(x.dtype).unsqueeze(2))
        if residual:
            out.add_(x)

        ctx.save_for_backward(x, z_h, z_w, *parameters)
        ctx.options, ctx.residual = options, residual
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *small = ctx.saved_tensors
        if torch.is_grad_enabled():
            return differentiable_backward(ctx, grad, [x, *small[2:]])
        # z_h, z_w and the parameters, as leaves of a graph of vectors: PyTorch differentiates it.
        leaves: list[Any] = [None if t is None else t.detach().requires_grad_() for t in small]
        with torch.enable_grad():
            y_h, y_w = _gates(*leaves, **ctx.options)
        a = y_h.detach().to(x.dtype).unsqueeze(3)  # (N, C, H, 1)
        b = y_w.detach().to(x.dtype).unsqueeze(2)  # (N, C, 1, W)

        product = grad * x
        grad_y_h, grad_y_w = _weighted_sums(product, a, b)
        present = [leaf for leaf in leaves if leaf is not None]
        grad_z_h, grad_z_w, *grads = torch.autograd.grad(
            (y_h, y_w), present, (grad_y_h.to(y_h.dtype), grad_y_w.to(y_w.dtype))
        )

        grad_x = None
        if ctx.needs_input_grad[0]:
            # `product` is not needed any more and has the layout of a fresh map: reuse it, unless
            # an expanded or foreign gradient gave it another memory format than that of x.
            grad_x = product if product.stride() == x.stride() else torch.empty_like(x)
            torch.mul(grad, a, out=grad_x)
            mean_h = (grad_z_h / x.size(3)).to(x.dtype).unsqueeze(3)
            mean_w = (grad_z_w / x.size(2)).to(x.dtype).unsqueeze(2)
            torch.addcmul(mean_h, grad_x, b, out=grad_x)
            grad_x.add_(mean_w)
            if ctx.residual:
                grad_x.add_(grad)
        grad_scale = grads[3] if len(grads) == 4 else None
        return grad_x, *grads[:3], grad_scale, None, None, None, None


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
    return *(next(found) if wants else None for wants in ctx.needs_input_grad[:5]), *[None] * 4


def _weighted_sums(product: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``sum_W(product * b)`` of shape (N, C, H) and ``sum_H(product * a)`` of (N, C, W)."""
    if product.is_contiguous():
        # Matrix-vector products read the map once each and make no temporary.
        with without_autocast(product):
            return (
                torch.matmul(product, b.transpose(2, 3)).squeeze(3),
                torch.matmul(a.transpose(2, 3), product).squeeze(2),
            )
    dtype = gate_dtype(product)
    return (product * b).sum(3, dtype=dtype), (product * a).sum(2, dtype=dtype)
