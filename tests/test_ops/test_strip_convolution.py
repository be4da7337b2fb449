"""The convolution of strips is PyTorch's, forward and backward, for every length."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmela.ops import ela_lean, ela_reference
from mmela.ops.strip_convolution import convolve, convolve_both


@pytest.mark.parametrize('length', [1, 2, 3, 4, 7, 20])
@pytest.mark.parametrize('kernel_size', [1, 5, 7])
@pytest.mark.parametrize('groups', [8, 4, 1])
def test_it_is_the_convolution_of_pytorch(length, kernel_size, groups):
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 8, length), (8, 8 // groups, kernel_size), (3, 8, length))
    z, weight, grad = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    leaves = [z.requires_grad_(), weight.requires_grad_()]
    options = dict(padding=kernel_size // 2, groups=groups)
    found, expected = (
        [out, *torch.autograd.grad(out, leaves, grad)]
        for out in (convolve(*leaves, groups=groups), F.conv1d(*leaves, **options))
    )
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('lengths', [(1, 2), (2, 1), (3, 9), (25, 42), (42, 4)])
@pytest.mark.parametrize('kernel_size', [1, 5, 7])
@pytest.mark.parametrize('groups', [8, 4, 1])
def test_strips_of_two_lengths_do_not_meet(lengths, kernel_size, groups):
    generator = torch.Generator().manual_seed(0)
    strips = [(3, 8, length) for length in lengths]
    shapes = (*strips, (8, 8 // groups, kernel_size), *strips)
    tensors = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    *leaves, grad_h, grad_w = tensors
    z_h, z_w, weight = (leaf.requires_grad_() for leaf in leaves)
    options = dict(padding=kernel_size // 2, groups=groups)
    apart = F.conv1d(z_h, weight, **options), F.conv1d(z_w, weight, **options)
    found, expected = (
        [*out, *torch.autograd.grad(out, leaves, (grad_h, grad_w))]
        for out in (convolve_both(z_h, z_w, weight, groups=groups), apart)
    )
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('wanted', [0, 1])
def test_either_gradient_alone_can_be_asked_for(wanted):
    z, weight = torch.randn(2, 6, 9), torch.randn(6, 1, 5)
    leaf = (z, weight)[wanted].requires_grad_()
    out = convolve(z, weight, groups=6)
    (expected,) = torch.autograd.grad(F.conv1d(z, weight, padding=2, groups=6).sum(), leaf)
    (found,) = torch.autograd.grad(out.sum(), leaf)
    torch.testing.assert_close(found, expected)


def test_a_gradient_under_autocast_is_of_single_precision():
    # bfloat16 would be off by a thousandth and more.
    generator = torch.Generator().manual_seed(0)
    z, grad = (torch.randn(4, 16, 30, generator=generator) for _ in range(2))
    weight = torch.randn(16, 1, 7, generator=generator)
    exact = [t.double().requires_grad_() for t in (z, weight)]
    expected = torch.autograd.grad(F.conv1d(*exact, padding=3, groups=16), exact, grad.double())
    leaves = [z.requires_grad_(), weight.requires_grad_()]
    out = convolve(*leaves, groups=16)
    with torch.autocast('cpu', torch.bfloat16):
        found = torch.autograd.grad(out, leaves, grad)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.double() - theirs).norm() < 1e-5 * theirs.norm()


def test_the_layer_is_the_formula_where_maps_are_shorter_than_the_kernel():
    generator = torch.Generator().manual_seed(0)
    shapes = ((5, 16, 2, 3), (16, 1, 7), (16,), (16,), (16,))
    leaves = [
        torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes
    ]
    results = []
    for function in (ela_lean, ela_reference):
        out = function(*leaves, groups=16, num_groups=4)
        results.append([out, *torch.autograd.grad((out**2).sum(), leaves)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
