"""The autograd function with either set of passes: gradients, memory, autocast, checkpoints."""

from __future__ import annotations

import pytest
import torch
from ela_layers import (
    DEVICE,
    FORMATS,
    IMPLEMENTATIONS,
    SMALL,
    TOLERANCE,
    Layer,
    assert_is_the_formula,
    make_inputs,
    outcome,
)
from torch.utils.checkpoint import checkpoint

from mmela.ops import ela, ela_lean, ela_reference

SHAPE = (2, 8, 6, 5)
BOTH = pytest.mark.parametrize('function', IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS)


@pytest.mark.parametrize('shape', [(2, 8, 7, 5), (1, 8, 1, 9), (2, 8, 6, 1), (3, 8, 8, 8)])
@pytest.mark.parametrize('scaled', [False, True])
def test_gradients_are_those_of_the_formula(shape, scaled):
    inputs, grad = make_inputs(shape, scaled=scaled)
    assert_is_the_formula(ela_lean, inputs, grad, residual=scaled)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_gradients_in_half_precision_are_those_of_the_formula(dtype):
    (x, *parameters), grad = make_inputs((2, 8, 9, 7), dtype=dtype)
    for precision in (torch.float32, dtype):
        inputs = [x, *(p.to(precision) for p in parameters)]
        assert_is_the_formula(ela_lean, inputs, grad)


@BOTH
@pytest.mark.parametrize('frozen', [*range(5), 'parameters'])
def test_gradients_that_are_not_needed_are_left_out(function, frozen):
    inputs, grad = make_inputs(SHAPE, scaled=True)
    wanted = [i == 0 if frozen == 'parameters' else i != frozen for i in range(5)]
    for tensor, wants in zip(inputs, wanted, strict=True):
        tensor.requires_grad_(wants)
    function(*inputs, **SMALL.options).backward(grad)
    exact = outcome(ela_reference, inputs, grad, **SMALL.options)[1:]
    for tensor, wants, expected in zip(inputs, wanted, exact, strict=True):
        assert (tensor.grad is not None) == wants
        if wants:
            torch.testing.assert_close(tensor.grad, expected, rtol=1e-9, atol=1e-11)


@BOTH
@pytest.mark.parametrize('memory_format', FORMATS)
def test_gradients_of_any_layout_are_taken_and_memory_format_is_kept(function, memory_format):
    inputs, grad = make_inputs((2, 8, 6, 6), memory_format=memory_format)
    for layout in (
        torch.tensor(0.7, dtype=grad.dtype, device=DEVICE).expand_as(grad),
        grad.transpose(2, 3),
        grad.contiguous(memory_format=FORMATS[memory_format == FORMATS[0]]),
    ):
        found = assert_is_the_formula(function, inputs, layout)
        for tensor in found[:2]:
            assert tensor.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize('index', range(1, 5))
def test_parameters_may_be_views_of_others(index):
    for view in (
        lambda t: t.repeat_interleave(2, dim=0)[::2],
        lambda t: t[:1].expand_as(t),
    ):
        inputs, grad = make_inputs(SHAPE, scaled=True)
        inputs[index] = view(inputs[index])
        assert_is_the_formula(ela_lean, inputs, grad)


def test_an_empty_batch_is_taken():
    inputs, _ = make_inputs(SHAPE)
    x = inputs[0][:0].requires_grad_()
    for function in IMPLEMENTATIONS.values():
        out = function(x, *inputs[1:], **SMALL.options)
        (grad,) = torch.autograd.grad(out.sum(), x)
        assert out.shape == grad.shape == (0, *SHAPE[1:])


@BOTH
def test_forward_keeps_its_input_and_vectors(function):
    inputs, _ = make_inputs((2, 8, 30, 20))
    x, *parameters = (t.requires_grad_() for t in inputs)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        function(x, *parameters, **SMALL.options)
    assert any(t.data_ptr() == x.data_ptr() for t in kept)
    others = sum(t.numel() for t in kept if t.data_ptr() != x.data_ptr())
    gap = SMALL.kernel_size // 2
    assert others <= 2 * 2 * 8 * (30 + 20 + gap) + sum(p.numel() for p in parameters)


@BOTH
def test_second_derivatives_are_those_of_the_formula(function):
    inputs, grad = make_inputs((1, 8, 3, 4))
    penalties = []
    for each in (function, ela_reference):
        leaves = [t.detach().requires_grad_() for t in inputs]
        (first,) = torch.autograd.grad(
            each(*leaves, **SMALL.options), leaves[0], grad, create_graph=True
        )
        penalties.append(torch.autograd.grad(first.square().sum(), leaves))
    for ours, formula in zip(*penalties, strict=True):
        assert formula.abs().max() > 0
        torch.testing.assert_close(ours, formula, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize('create_graph', [False, True])
def test_hooks_see_each_gradient_once(create_graph):
    def gradients(function):
        inputs, grad = make_inputs(SHAPE, scaled=True)
        leaves, calls = [t.requires_grad_() for t in inputs], []
        for index, leaf in enumerate(leaves):
            leaf.register_hook(lambda grad, index=index: calls.append(index) or 2 * grad)
        out = function(*leaves, **SMALL.options)
        grads = torch.autograd.grad(out, leaves, grad, create_graph=create_graph)
        assert sorted(calls) == list(range(5))
        return grads

    for ours, theirs in zip(gradients(ela_lean), gradients(ela_reference), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@BOTH
def test_many_gradients_at_once_are_those_one_by_one(function):
    inputs, grad = make_inputs(SHAPE, scaled=True)
    leaves = [t.requires_grad_() for t in inputs]
    grads = torch.stack([grad, grad * grad, grad.flip(3)])
    out = function(*leaves, **SMALL.options)
    each = [torch.autograd.grad(out, leaves, g, retain_graph=True) for g in grads]
    together = torch.autograd.grad(out, leaves, grads, is_grads_batched=True, retain_graph=True)
    mapped = torch.func.vmap(lambda g: torch.autograd.grad(out, leaves, g, retain_graph=True))(
        grads
    )
    for expected, *found in zip(zip(*each, strict=True), together, mapped, strict=True):
        for ours in found:
            torch.testing.assert_close(ours, torch.stack(expected), rtol=1e-9, atol=1e-11)


@BOTH
def test_autocast_and_checkpointing_change_nothing(function):
    for dtype in (torch.float32, torch.bfloat16):
        inputs, grad = make_inputs(SHAPE, dtype=dtype)
        plain = outcome(function, inputs, grad, **SMALL.options)
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            inside = outcome(function, inputs, grad, **SMALL.options)
        assert all(torch.equal(a, b) for a, b in zip(plain, inside, strict=True))

    def recomputed(*tensors):
        return checkpoint(function, *tensors, use_reentrant=False, **SMALL.options)

    again = outcome(recomputed, inputs, grad)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_the_layer_is_the_formula_where_maps_are_shorter_than_the_kernel():
    layer = Layer(7, 16, 4)
    inputs, grad = make_inputs((5, 16, 2, 3), layer)
    assert_is_the_formula(ela_lean, inputs, grad, layer)


def test_gradients_under_autocast_are_of_single_precision():
    """bfloat16 would be off by a thousandth and more."""
    inputs, grad = make_inputs((3, 8, 30, 20), dtype=torch.float32)
    with torch.autocast(DEVICE, torch.bfloat16):
        assert_is_the_formula(ela_lean, inputs, grad)
    assert TOLERANCE[torch.float32] < 1e-3


def test_results_are_deterministic():
    inputs, grad = make_inputs((2, 8, 21, 13), dtype=torch.float16, scaled=True)
    for function in (ela, *IMPLEMENTATIONS.values()):
        first = outcome(function, inputs, grad, **SMALL.options)
        again = outcome(function, inputs, grad, **SMALL.options)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
