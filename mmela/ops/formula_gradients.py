"""Gradients by the formula, for what a hand-written backward cannot do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmela.ops.reference import ela_reference


def wants_formula(grad: Tensor) -> bool:
    """Whether a gradient has to be computed by the formula.

    That is the case for ``create_graph=True``, and under ``vmap`` (``is_grads_batched=True``),
    where ``grad`` stands for a batch of gradients that no kernel can read.
    """
    return torch.is_grad_enabled() or any(is_batched(grad) for is_batched in _IS_BATCHED)


def formula_gradients(
    grad: Tensor, inputs: Sequence[Tensor | None], wanted: Sequence[bool], **options: Any
) -> tuple[Tensor | None, ...]:
    """Gradients of the formula; differentiable again under ``create_graph=True``.

    Args:
        grad: Gradient of the layer's output.
        inputs: The map and the four parameters.
        wanted: Whether the gradient of each input is needed.
        **options: Of :func:`mmela.ops.ela_reference`.

    Returns:
        One gradient for each input, None where it is not needed.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, so that hooks on the inputs run once, when autograd accumulates what is returned.
        views: list[Any] = [None if t is None else t.view_as(t) for t in inputs]
        out = ela_reference(*views, **options)
        leaves = [view for view, wants in zip(views, wanted, strict=True) if wants]
        found = iter(torch.autograd.grad(out, leaves, grad, create_graph=create_graph))
    return tuple(next(found) if wants else None for wants in wanted)


def _questions() -> list[Callable[[Tensor], bool]]:
    # Not public, but there is no other test for a batched tensor.
    functorch = torch._C._functorch
    if hasattr(functorch, 'is_legacy_batchedtensor'):
        return [functorch.is_batchedtensor, functorch.is_legacy_batchedtensor]
    return [lambda grad: 'Batched' in str(torch._C._dispatch_keys(grad))]  # torch 2.1


_IS_BATCHED = _questions()
