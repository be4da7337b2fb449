"""What PyTorch does around the fused kernels in eager mode: checkpoints, autocast, copies."""

from __future__ import annotations

import copy

import pytest
import torch
from fused_layers import DEVICE, Layer, fused, make_inputs, outcome
from torch.utils.checkpoint import checkpoint

from mmela import ELA
from mmela.ops.fused.library import ela_operator


def test_activation_checkpointing_changes_nothing():
    layer = Layer(5, 4, 2)
    inputs, grad = make_inputs((1, 8, 6, 8), layer)

    def recomputed(*tensors, **options):
        return checkpoint(fused, *tensors, use_reentrant=False, **options)

    plain = outcome(fused, inputs, grad, **layer.options)
    for a, b in zip(plain, outcome(recomputed, inputs, grad, **layer.options), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_autocast_changes_nothing(dtype):
    """Under autocast a convolution hands over a half precision map; the gates stay in float32."""
    layer = Layer(5, 4, 2)
    inputs, grad = make_inputs((1, 8, 6, 8), layer, dtype)
    plain = outcome(fused, inputs, grad, **layer.options)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        inside = outcome(fused, inputs, grad, **layer.options)
    assert all(torch.equal(a, b) for a, b in zip(plain, inside, strict=True))


@pytest.mark.parametrize('function', [fused, ela_operator])
@pytest.mark.parametrize('create_graph', [False, True])
def test_hooks_see_each_gradient_once(function, create_graph):
    layer = Layer(5, 4, 2)
    inputs, grad = make_inputs((1, 8, 6, 8), layer)
    leaves = [t.requires_grad_() for t in inputs]
    calls = []
    for index, leaf in enumerate(leaves):
        leaf.register_hook(lambda grad, index=index: calls.append(index))
    out = function(*leaves, **layer.options)
    torch.autograd.grad(out, leaves, grad, create_graph=create_graph)
    assert sorted(calls) == list(range(4))


@pytest.mark.parametrize('function', [fused, ela_operator])
def test_many_gradients_at_once_are_those_one_by_one(function):
    layer = Layer(5, 4, 2)
    inputs, grad = make_inputs((1, 8, 6, 8), layer)
    leaves = [t.requires_grad_() for t in inputs]
    out = function(*leaves, **layer.options)
    grads = torch.stack([grad, grad * grad, grad.flip(3)])
    each = [torch.autograd.grad(out, leaves, g, retain_graph=True) for g in grads]
    together = torch.autograd.grad(out, leaves, grads, is_grads_batched=True)
    for expected, ours in zip(zip(*each, strict=True), together, strict=True):
        torch.testing.assert_close(ours, torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_the_layer_and_its_deep_copy():
    layer = ELA(16, 'S', residual='scaled', fused=True).to(DEVICE)
    torch.nn.init.normal_(layer.scale)
    average = copy.deepcopy(layer)
    average.fused = False
    x = torch.randn(1, 16, 9, 7, device=DEVICE)
    torch.testing.assert_close(layer(x), average(x), rtol=1e-5, atol=1e-5)
