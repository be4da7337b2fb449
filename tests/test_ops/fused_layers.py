"""Layers for the fused kernels, and how what they give is held against the formula in float64.

Where there is no Triton, whoever imports this is skipped.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from mmela import ELA
from mmela.ops import ela, ela_reference
from mmela.ops.fused import availability

pytest.importorskip('triton', reason='the fused kernels need Triton')
if availability.toolchain_fault():
    pytest.skip(availability.toolchain_fault(), allow_module_level=True)

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
PATHS = ['one', 'split']
LAYOUTS = {
    'a slice of channels': lambda t: torch.cat([t, t], 1)[:, : t.size(1)],
    'transposed': lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    'rows upside down, every other': lambda t: t.repeat_interleave(2, 2)[:, :, ::2],
    'channels_last': lambda t: t.contiguous(memory_format=torch.channels_last),
}


class Layer(NamedTuple):
    """What of a layer the function needs."""

    kernel_size: int
    groups: int
    num_groups: int

    @property
    def options(self):
        return dict(groups=self.groups, num_groups=self.num_groups)


def variant(name, channels):
    layer = ELA(channels, name)
    return Layer(layer.conv.kernel_size[0], layer.conv.groups, layer.gn.num_groups)


def make_inputs(shape, layer, dtype=torch.float32, *, scaled=False, channels_last=False):
    """Fresh numbers at every call: map, parameters and the gradient of the output."""
    channels = shape[1]
    x, grad = torch.randn(2, *shape, dtype=torch.float64).to(DEVICE, dtype)
    parameters = [
        torch.randn(channels, channels // layer.groups, layer.kernel_size),
        1 + 0.3 * torch.randn(channels),
        0.3 * torch.randn(channels),
        *([torch.randn(channels)] if scaled else []),
    ]
    if channels_last:
        x, grad = (t.to(memory_format=torch.channels_last) for t in (x, grad))
    return [x, *(p.to(DEVICE) for p in parameters)], grad


def outcome(function, inputs, grad, **options):
    """Output and gradients."""
    leaves = [t.detach().requires_grad_() for t in inputs]
    out = function(*leaves, **options)
    return [out, *torch.autograd.grad(out, leaves, grad)]


def fused(*inputs, **options):
    return ela(*inputs, fused=True, **options)


def assert_is_the_formula(inputs, grad, layer, *, residual=False):
    """Output and all gradients, in relative error of the whole tensor."""
    options = dict(layer.options, residual=residual)
    found = outcome(fused, inputs, grad, **options)
    exact = outcome(ela_reference, [t.double() for t in inputs], grad.double(), **options)
    names = ['out', 'x', 'conv.weight', 'gn.weight', 'gn.bias', 'scale']
    # Parameters and their gradients are float32 here; the map's dtype limits what it touches.
    limit = TOLERANCE[inputs[0].dtype]
    for name, ours, formula in zip(names, found, exact, strict=False):
        error = (ours.double() - formula).norm() / formula.norm()
        assert error < limit, (name, error)
    for tensor in found[:2]:
        assert tensor.dtype == inputs[0].dtype
    return found
