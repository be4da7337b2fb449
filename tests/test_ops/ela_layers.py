"""Layers and inputs for the tests, and the comparison with the formula in float64."""

from __future__ import annotations

from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import torch

from mmela import ELA
from mmela.ops import ela, ela_lean, ela_reference

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
FORMATS = [torch.contiguous_format, torch.channels_last]
#: Relative error of a whole tensor.
TOLERANCE = {
    torch.float64: 1e-9,
    torch.float32: 1e-5,
    torch.float16: 2e-3,
    torch.bfloat16: 1e-2,
}
NAMES = ['out', 'x', 'conv.weight', 'gn.weight', 'gn.bias', 'scale']

try:
    HAS_TRITON = tuple(map(int, version('triton').split('.')[:2])) >= (3, 2)
except PackageNotFoundError:
    HAS_TRITON = False
kernels = partial(ela, fused=True)
IMPLEMENTATIONS = {'lean': ela_lean, **({'kernels': kernels} if HAS_TRITON else {})}


class Layer(NamedTuple):
    """The arguments of a layer that the functions need."""

    kernel_size: int
    groups: int
    num_groups: int

    @property
    def options(self):
        return dict(groups=self.groups, num_groups=self.num_groups)


SMALL = Layer(5, 4, 2)


def variant(name, channels):
    layer = ELA(channels, name)
    return Layer(layer.conv.kernel_size[0], layer.conv.groups, layer.gn.num_groups)


def make_inputs(
    shape, layer=SMALL, dtype=torch.float64, *, scaled=False, memory_format=FORMATS[0], seed=0
):
    """A map with its parameters, and a gradient of the output.

    Parameters are float32 beside a map of half precision.
    """
    generator = torch.Generator().manual_seed(seed)
    channels = shape[1]

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    x, grad = (normal(*shape).to(DEVICE, dtype) for _ in range(2))
    parameters = [
        normal(channels, channels // layer.groups, layer.kernel_size),
        1 + 0.3 * normal(channels),
        0.3 * normal(channels),
        *([normal(channels)] if scaled else []),
    ]
    precision = torch.float64 if dtype == torch.float64 else torch.float32
    x, grad = (t.contiguous(memory_format=memory_format) for t in (x, grad))
    return [x, *(p.to(DEVICE, precision) for p in parameters)], grad


def outcome(function, inputs, grad, **options):
    """The output and the gradients of all inputs."""
    leaves = [t.detach().requires_grad_() for t in inputs]
    out = function(*leaves, **options)
    return [out, *torch.autograd.grad(out, leaves, grad)]


def assert_is_the_formula(function, inputs, grad, layer=SMALL, *, residual=False):
    """Compares output and gradients with those of the formula in float64."""
    options = dict(layer.options, residual=residual)
    found = outcome(function, inputs, grad, **options)
    exact = outcome(ela_reference, [t.double() for t in inputs], grad.double(), **options)
    for name, ours, formula in zip(NAMES, found, exact, strict=False):
        error = (ours.double() - formula).norm() / formula.norm()
        assert error < TOLERANCE[inputs[0].dtype], (name, float(error))
    for ours, given in zip(found, [inputs[0], *inputs], strict=True):
        assert ours.dtype == given.dtype
    return found
