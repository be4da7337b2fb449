"""The gates of strips are those of the formula, forward and backward, for every length."""

from __future__ import annotations

import pytest
import torch

from mmela.ops import ela_lean, ela_reference, map_passes, strip_gates
from mmela.ops.reference import axis_gate
from mmela.ops.strip_gates import StripConvolution, StripGates, StripPair

CHANNELS = 8
LENGTHS = [(2, 2), (7, 7), (20, 20), (2, 3), (3, 9), (25, 42), (42, 4)]


def make_inputs(lengths, kernel_size=7, groups=CHANNELS, dtype=torch.float64):
    """Strips, parameters, and gradients of the gates."""
    generator = torch.Generator().manual_seed(0)
    strips = [(3, CHANNELS, length) for length in lengths]
    parameters = [(CHANNELS, CHANNELS // groups, kernel_size), (CHANNELS,), (CHANNELS,)]
    shapes = (*strips, *parameters, *strips)
    tensors = [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
    return tensors[:5], tensors[5:]


def by_autograd(leaves, grads, **options):
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    gates = [axis_gate(z, *leaves[2:], **options) for z in leaves[:2]]
    return [*gates, *torch.autograd.grad(gates, leaves, grads)]


def by_hand(leaves, grads, wanted=(True,) * 4, *, groups, num_groups):
    z_h, z_w, conv_weight, *norm = leaves
    pair = StripPair(z_h.size(2), z_w.size(2), conv_weight.size(2))
    convolution = StripConvolution(pair, conv_weight, groups)
    z, u = convolution.forward(z_h, z_w)
    gates = StripGates(pair, u, *norm, num_groups, 1e-5)
    grad_u, *grads_norm = gates.backward(*grads, *wanted[2:])
    grad_strips, grad_conv = convolution.backward(grad_u, z, *wanted[:2])
    return [gates.h, gates.w, *(grad_strips or (None, None)), grad_conv, *grads_norm]


@pytest.mark.parametrize('lengths', LENGTHS)
@pytest.mark.parametrize('kernel_size', [1, 5, 7])
@pytest.mark.parametrize('groups', [8, 4, 1])
@pytest.mark.parametrize('windows', [0, strip_gates.WINDOW_ELEMENTS])
def test_gates_and_gradients_are_those_of_the_formula(
    monkeypatch, lengths, kernel_size, groups, windows
):
    monkeypatch.setattr(strip_gates, 'WINDOW_ELEMENTS', windows)
    inputs = make_inputs(lengths, kernel_size, groups)
    options = dict(groups=groups, num_groups=4)
    found, expected = by_hand(*inputs, **options), by_autograd(*inputs, **options)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize('lengths', [(9, 9), (9, 5)])
@pytest.mark.parametrize('groups', [8, 4])
@pytest.mark.parametrize('windows', [0, strip_gates.WINDOW_ELEMENTS])
@pytest.mark.parametrize('index', range(4))
def test_any_gradient_alone_can_be_asked_for(monkeypatch, lengths, groups, windows, index):
    monkeypatch.setattr(strip_gates, 'WINDOW_ELEMENTS', windows)
    inputs = make_inputs(lengths, groups=groups)
    options = dict(groups=groups, num_groups=4)
    found = by_hand(*inputs, wanted=[i == index for i in range(4)], **options)[2:]
    expected = by_autograd(*inputs, **options)[2:]
    places = [0, 1] if index == 0 else [index + 1]
    assert [place for place, grad in enumerate(found) if grad is not None] == places
    for place in places:
        torch.testing.assert_close(found[place], expected[place], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize('groups', [16, 4])
@pytest.mark.parametrize('windows', [0, strip_gates.WINDOW_ELEMENTS])
@pytest.mark.parametrize('block', [100, 2**20])
def test_gradients_under_autocast_are_of_single_precision(monkeypatch, groups, windows, block):
    # bfloat16 would be off by a thousandth and more.
    monkeypatch.setattr(strip_gates, 'WINDOW_ELEMENTS', windows)
    monkeypatch.setattr(map_passes, 'BLOCK', block)
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 16, 30, 20), (16, 16 // groups, 7), (16,), (16,), (16,))
    inputs = [torch.randn(s, generator=generator) for s in shapes]
    found, expected = (
        torch.autograd.grad(function(*leaves, groups=groups, num_groups=4).square().sum(), leaves)
        for function, leaves in (
            (ela_lean, [t.requires_grad_() for t in inputs]),
            (ela_reference, [t.detach().double().requires_grad_() for t in inputs]),
        )
    )
    leaves = [t.requires_grad_() for t in inputs]
    out = ela_lean(*leaves, groups=groups, num_groups=4).square().sum()
    with torch.autocast('cpu', torch.bfloat16):
        inside = torch.autograd.grad(out, leaves)
    for ours, outside, theirs in zip(inside, found, expected, strict=True):
        assert torch.equal(ours, outside)
        assert (ours.double() - theirs).norm() < 1e-5 * theirs.norm()
