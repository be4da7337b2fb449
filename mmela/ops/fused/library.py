"""The fused kernels as operators of ``torch.library``, for ``torch.compile``.

A compiler cannot look into a launch; an operator with a fake kernel and a derivative of its own is
one node of its graph, so there is no graph break. In eager mode `autograd` does the same with less
overhead on the host. The operators need no Triton to be registered, only to run.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from mmela.ops.formula_gradients import formula_gradients, wants_formula
from mmela.ops.fused.layout import memory_format

_PARAMETERS = 'Tensor conv_weight, Tensor gn_weight, Tensor gn_bias, Tensor? scale'
_OPTIONS = 'int groups, int num_groups, bool residual, float eps'


@torch.library.custom_op(
    'mmela::ela_forward',
    mutates_args=(),
    schema=f'(Tensor x, {_PARAMETERS}, {_OPTIONS}) -> (Tensor, Tensor)',
)
def ela_forward(
    x: Tensor,
    conv_weight: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    scale: Tensor | None,
    groups: int,
    num_groups: int,
    residual: bool,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """The attended map, and the vectors that backward needs."""
    from mmela.ops.fused import launch

    shape = launch.shape_of(x, conv_weight, groups, num_groups)
    return launch.forward(shape, x, conv_weight, gn_weight, gn_bias, scale, residual, eps)


@ela_forward.register_fake
def _(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    images, channels, height, width = x.shape
    num_groups = rest[5]
    strips = 2 * images * channels * (height + width) + 2 * images * num_groups
    out = torch.empty_like(x, memory_format=memory_format(x))
    return out, x.new_empty(strips, dtype=torch.float32)


@torch.library.custom_op(
    'mmela::ela_backward',
    mutates_args=(),
    schema=(
        f'(Tensor grad, Tensor x, Tensor strips, {_PARAMETERS}, int groups, int num_groups, '
        'bool residual, bool wants_x, bool wants_parameters) '
        '-> (Tensor, Tensor, Tensor, Tensor, Tensor)'
    ),
)
def ela_backward(
    grad: Tensor,
    x: Tensor,
    strips: Tensor,
    conv_weight: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    scale: Tensor | None,
    groups: int,
    num_groups: int,
    residual: bool,
    wants_x: bool,
    wants_parameters: bool,
) -> tuple[Tensor, ...]:
    """The gradients of map and parameters; an operator returns no None, so empty tensors."""
    from mmela.ops.fused import launch

    shape = launch.shape_of(x, conv_weight, groups, num_groups)
    grads = launch.backward(
        shape, grad, x, strips, conv_weight, gn_weight, gn_bias, scale, residual, wants_x,
        wants_parameters,
    )  # fmt: skip
    return tuple(x.new_empty(0) if g is None else g for g in grads)


@ela_backward.register_fake
def _(grad: Tensor, x: Tensor, strips: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    *parameters, _, _, _, wants_x, wants_parameters = rest
    layout = memory_format(x)
    return torch.empty_like(x, memory_format=layout) if wants_x else x.new_empty(0), *(
        x.new_empty(0)
        if p is None or not wants_parameters
        else torch.empty_like(p, memory_format=torch.contiguous_format)
        for p in parameters
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:5], output[1])
    ctx.options = inputs[5:]


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    *inputs, strips = ctx.saved_tensors
    groups, num_groups, residual, eps = ctx.options
    wanted = ctx.needs_input_grad[:5]
    grads: Any
    if wants_formula(grad):
        options = dict(groups=groups, num_groups=num_groups, residual=residual, eps=eps)
        grads = formula_gradients(grad, inputs, wanted, **options)
    else:
        grads = torch.ops.mmela.ela_backward(
            grad, inputs[0], strips, *inputs[1:], groups, num_groups, residual,
            wanted[0], any(wanted[1:]),
        )  # fmt: skip
        grads = [g if wants else None for g, wants in zip(grads, wanted, strict=True)]
    return *grads, None, None, None, None


ela_forward.register_autograd(_backward, setup_context=_setup_context)


def ela_operator(
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
    """Efficient Local Attention as one operator.

    Arguments and result as in :func:`mmela.ops.ela`.
    """
    out, _ = torch.ops.mmela.ela_forward(
        x, conv_weight, gn_weight, gn_bias, scale, groups, num_groups, residual, eps
    )
    return cast(Tensor, out)
