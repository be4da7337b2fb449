"""Backward of the fused kernels: layouts, what is asked for, what is kept, second derivatives."""

from __future__ import annotations

import pytest
import torch
from fused_layers import (
    DEVICE,
    LAYOUTS,
    PATHS,
    TOLERANCE,
    Layer,
    assert_is_the_formula,
    fused,
    make_inputs,
    outcome,
)

from mmela.ops import ela_reference


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('of', ['map', 'gradient'])
def test_layouts(layout, of):
    layer = Layer(5, 4, 2)
    inputs, grad = make_inputs((2, 8, 6, 8), layer)
    if of == 'map':
        inputs[0] = LAYOUTS[layout](inputs[0])
    else:
        grad = LAYOUTS[layout](grad)
    assert_is_the_formula(inputs, grad, layer)


def test_an_expanded_gradient():
    """That of a sum: one number in memory."""
    layer = Layer(5, 4, 2)
    inputs, grad = make_inputs((2, 8, 6, 8), layer)
    assert_is_the_formula(inputs, torch.tensor(0.7, device=DEVICE).expand_as(grad), layer)


@pytest.mark.parametrize('path', PATHS)
def test_memory_format_is_kept(use_path, path):
    use_path(path)
    layer = Layer(5, 4, 2)
    inputs, grad = make_inputs((2, 8, 6, 5), layer, channels_last=True)
    for tensor in outcome(fused, inputs, grad, **layer.options)[:2]:
        assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('frozen', range(6))
def test_gradients_nobody_asked_for_are_left_out(use_path, frozen):
    use_path(PATHS[frozen % 2])
    layer = Layer(5, 4, 2)
    inputs, grad = make_inputs((1, 8, 6, 8), layer, scaled=True)
    wanted = [i == 0 if frozen == 5 else i != frozen for i in range(5)]
    for tensor, wants in zip(inputs, wanted, strict=True):
        tensor.requires_grad_(wants)
    fused(*inputs, **layer.options).backward(grad)
    exact = outcome(ela_reference, inputs, grad, **layer.options)[1:]
    for tensor, wants, expected in zip(inputs, wanted, exact, strict=True):
        assert (tensor.grad is None) != wants
        if wants:
            torch.testing.assert_close(tensor.grad, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_parameters_get_gradients_of_their_own(dtype):
    layer = Layer(5, 4, 2)
    (x, *parameters), grad = make_inputs((2, 8, 6, 8), layer, dtype)
    inputs = [x, *(p.to(dtype) for p in parameters)]
    found = outcome(fused, inputs, grad, **layer.options)
    exact = outcome(ela_reference, [t.double() for t in inputs], grad.double(), **layer.options)
    for ours, truth in zip(found, exact, strict=True):
        assert ours.dtype == dtype
        assert (ours.double() - truth).norm() < TOLERANCE[dtype] * truth.norm()


def test_backward_keeps_the_map_and_vectors():
    layer = Layer(5, 4, 2)
    inputs, _ = make_inputs((2, 8, 40, 60), layer)
    inputs = [t.requires_grad_() for t in inputs]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        fused(*inputs, **layer.options)
    x = inputs[0]
    others = sum(t.numel() for t in kept if t.data_ptr() != x.data_ptr())
    vectors = 2 * 2 * 8 * (40 + 60 + 1) + sum(p.numel() for p in inputs[1:])
    assert any(t.data_ptr() == x.data_ptr() for t in kept) and others <= vectors


def test_second_derivatives_are_those_of_the_formula():
    layer = Layer(3, 4, 4)
    inputs, grad = make_inputs((1, 8, 3, 4), layer)
    penalties = []
    for function in (fused, ela_reference):
        leaves = [t.detach().requires_grad_() for t in inputs]
        (first,) = torch.autograd.grad(
            function(*leaves, **layer.options), leaves[0], grad, create_graph=True
        )
        penalties.append(torch.autograd.grad(first.square().sum(), leaves))
    for ours, formula in zip(*penalties, strict=True):
        torch.testing.assert_close(ours, formula, rtol=1e-4, atol=1e-5)
