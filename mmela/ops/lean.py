"""Efficient Local Attention that keeps nothing of full size but its input for backward.

Autograd records the formula step by step and so saves the map times ``y_h`` besides ``x``, and
makes about eighteen passes over full maps in backward. Here one function holds the whole layer:
it saves ``x``, the strips and the parameters, recomputes the gates (vectors) in backward, and
writes the gradient of ``x`` into one buffer. The passes over the map are in
:mod:`mmela.ops.blocks`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmela.ops import blocks
from mmela.ops.reference import ela_reference, normed_gate, without_autocast
from mmela.ops.strip_convolution import convolve, convolve_both


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
    *,
    groups: int,
    num_groups: int,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Strips to gates, (N, C, H) and (N, C, W), with the scale folded into the first."""
    conv_weight = conv_weight.to(z_h.dtype)

    def gate(u: Tensor) -> Tensor:
        return normed_gate(u, gn_weight, gn_bias, num_groups=num_groups, eps=eps)

    # Autocast would run the convolution in half precision, whatever the dtype of its input.
    with without_autocast(z_h):
        if z_h.shape == z_w.shape:
            # On small maps the calls are what the gates cost: a square one makes them once.
            y_h, y_w = gate(convolve(torch.cat([z_h, z_w]), conv_weight, groups=groups)).chunk(2)
        else:
            u_h, u_w = convolve_both(z_h, z_w, conv_weight, groups=groups)
            y_h, y_w = gate(u_h), gate(u_w)
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
        z_h, z_w = blocks.strip_means(x)
        y_h, y_w = _gates(z_h, z_w, *parameters, **options)
        out = blocks.weigh(x, y_h.to(x.dtype), y_w.to(x.dtype), residual)

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
        gates = y_h.detach().to(x.dtype), y_w.detach().to(x.dtype)

        present = [leaf for leaf in leaves if leaf is not None]
        grad_z_h, grad_z_w, *grads = torch.autograd.grad(
            (y_h, y_w), present, blocks.product_sums(grad, x, *gates)
        )

        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = blocks.map_gradient(grad, x, *gates, grad_z_h, grad_z_w, ctx.residual)
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
