"""Gradients by the plain formula, where a backward that is written out cannot serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmela.ops.reference import ela_reference


def wants_formula(grad: Tensor) -> bool:
    """Whether a gradient has to go through the formula.

    That is where a graph of the result is asked for (``create_graph=True``), and under ``vmap``
    (``is_grads_batched=True``), where ``grad`` is many gradients that no kernel can read.
    """
    return torch.is_grad_enabled() or any(is_batched(grad) for is_batched in _IS_BATCHED)


def formula_gradients(
    grad: Tensor, inputs: Sequence[Tensor | None], wanted: Sequence[bool], **options: Any
) -> tuple[Tensor | None, ...]:
    """The gradients by the formula, as a graph that can be differentiated again if that is asked.

    Args:
        grad: Gradient of a layer's output.
        inputs: The map and the four parameters.
        wanted: Whether the gradient of each is asked for; None takes the place of the others.
        **options: Of :func:`mmela.ops.ela_reference`.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views: hooks of the tensors themselves are called by autograd, behind this and once.
        views: list[Any] = [None if t is None else t.view_as(t) for t in inputs]
        out = ela_reference(*views, **options)
        leaves = [view for view, wants in zip(views, wanted, strict=True) if wants]
        found = iter(torch.autograd.grad(out, leaves, grad, create_graph=create_graph))
    return tuple(next(found) if wants else None for wants in wanted)


def _questions(*names: str) -> list[Callable[[Tensor], bool]]:
    # Not public, and the only way to tell; those that a version of PyTorch lacks are left out.
    functorch = getattr(torch._C, '_functorch', None)
    return [getattr(functorch, name) for name in names if hasattr(functorch, name)]


_IS_BATCHED = _questions('is_batchedtensor', 'is_legacy_batchedtensor')
