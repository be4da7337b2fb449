"""The fused kernels as a function of PyTorch in eager mode."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmela.ops.formula_gradients import formula_gradients, wants_formula
from mmela.ops.fused import launch


def ela_fused(
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
    """Efficient Local Attention by Triton kernels.

    For maps that :func:`mmela.ops.fused.unavailable` has nothing against. Where a graph of the
    gradient is asked for (``create_graph=True``), and under ``vmap``, the gradient is that of the
    plain formula.

    Arguments and result as in :func:`mmela.ops.ela`.
    """
    if not torch.is_grad_enabled():
        # Autograd would take as long as the rest of the call.
        shape = launch.shape_of(x, conv_weight, groups, num_groups)
        parameters = (conv_weight, gn_weight, gn_bias, scale)
        return launch.forward(shape, x, *parameters, residual, eps)[0]
    out: Tensor = _FusedELA.apply(
        x, conv_weight, gn_weight, gn_bias, scale, groups, num_groups, residual, eps
    )
    return out


class _FusedELA(torch.autograd.Function):
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
        shape = launch.shape_of(x, conv_weight, groups, num_groups)
        parameters = (conv_weight, gn_weight, gn_bias, scale)
        out, strips = launch.forward(shape, x, *parameters, residual, eps)
        ctx.save_for_backward(x, *parameters, strips)
        ctx.shape = shape
        ctx.options = dict(groups=groups, num_groups=num_groups, residual=residual, eps=eps)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, strips = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:5]
        if wants_formula(grad):
            return *formula_gradients(grad, inputs, wanted, **ctx.options), *[None] * 4
        x, conv_weight, gn_weight, gn_bias, scale = inputs
        grads = launch.backward(
            ctx.shape, grad, x, strips, conv_weight, gn_weight, gn_bias, scale,
            ctx.options['residual'], wanted[0], any(wanted[1:]),
        )  # fmt: skip
        return *grads, None, None, None, None
