"""The formula, against NumPy and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ela_layers import SMALL, Layer, make_inputs

from mmela.errors import ConfigError
from mmela.ops import ela, ela_gates, ela_lean, ela_reference
from mmela.ops.reference import without_autocast

BOTH = pytest.mark.parametrize('function', [ela_reference, ela_lean])


def gate_by_hand(z, weight, gn_weight, gn_bias, groups, num_groups, eps=1e-5):
    """sigmoid(GroupNorm(Conv1d(z))) with loops, for z of shape (N, C, L)."""
    n, channels, length = z.shape
    width, kernel_size = weight.shape[1:]
    padded = np.pad(z, [(0, 0), (0, 0), (kernel_size // 2, kernel_size // 2)])
    out = np.zeros_like(z)
    for c in range(channels):
        first = c // (channels // groups) * width
        for j in range(length):
            window = padded[:, first : first + width, j : j + kernel_size]
            out[:, c, j] = (window * weight[c]).sum(axis=(1, 2))
    grouped = out.reshape(n, num_groups, -1)
    mean, var = grouped.mean(2, keepdims=True), grouped.var(2, keepdims=True)
    out = ((grouped - mean) / np.sqrt(var + eps)).reshape(n, channels, length)
    return 1 / (1 + np.exp(-(out * gn_weight[:, None] + gn_bias[:, None])))


@BOTH
@pytest.mark.parametrize('residual, scaled', [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize('shape', [(2, 8, 7, 5), (1, 8, 1, 9), (2, 8, 6, 1), (1, 8, 1, 1)])
def test_output_is_that_of_numpy(function, residual, scaled, shape):
    inputs, _ = make_inputs(shape, scaled=scaled)
    out = function(*inputs, **SMALL.options, residual=residual)

    x, weight, gn_weight, gn_bias, *scale = (t.cpu().numpy() for t in inputs)
    options = SMALL.options.values()
    y_h = gate_by_hand(x.mean(3), weight, gn_weight, gn_bias, *options)[:, :, :, None]
    y_w = gate_by_hand(x.mean(2), weight, gn_weight, gn_bias, *options)[:, :, None, :]
    expected = x * y_h * y_w
    if scaled:
        expected = scale[0][:, None, None] * expected
    if residual:
        expected = x + expected
    np.testing.assert_allclose(out.cpu().numpy(), expected, rtol=1e-10, atol=1e-12)


@BOTH
def test_derivatives_are_those_of_finite_differences(function):
    layer = Layer(3, 2, 2)
    inputs, _ = make_inputs((1, 4, 3, 2), layer, scaled=True)
    inputs = [t.requires_grad_() for t in inputs]

    def call(*tensors):
        return function(*tensors, **layer.options, residual=True)

    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@BOTH
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_maps_have_gates_of_single_precision(function, dtype):
    (x, *parameters), _ = make_inputs((2, 8, 9, 7), dtype=dtype)
    out = function(x, *parameters, **SMALL.options)
    y_h, y_w = ela_gates(x, *parameters, **SMALL.options)
    exact = ela_reference(x.double(), *(p.double() for p in parameters), **SMALL.options)
    assert out.dtype == dtype and y_h.dtype == y_w.dtype == torch.float32
    # Three roundings, of the gates and of two products, each of half a unit in the last place.
    unit = torch.finfo(dtype).eps
    assert ((out.double() - exact).abs() <= 2 * unit * exact.abs() + 1e-6).all()


@BOTH
def test_autocast_does_not_lower_the_precision_of_the_gate(function):
    inputs, _ = make_inputs((2, 8, 9, 7), dtype=torch.float32)
    outside = function(*inputs, **SMALL.options)
    with torch.autocast(inputs[0].device.type, dtype=torch.bfloat16):
        inside = function(*inputs, **SMALL.options)
    assert torch.equal(inside, outside)


def test_a_device_without_autocast_is_left_alone(monkeypatch):
    """Such as mps before torch 2.5."""

    class OfMPS:
        device, is_cpu, is_cuda = torch.device('mps'), False, False

    def refuse(device_type, **options):
        raise RuntimeError(f"unsupported autocast device_type '{device_type}'")

    monkeypatch.setattr(torch, 'autocast', refuse)
    with without_autocast(OfMPS()):
        pass


@BOTH
def test_one_element_groups_normalise_to_zero(function):
    """A map of 1x1 with one channel a group: the gate is sigmoid(bias), whatever the map holds."""
    (x, weight, gn_weight, gn_bias), _ = make_inputs((1, 8, 1, 1), dtype=torch.float32)
    x = (1e4 * x).requires_grad_()
    weight.requires_grad_()
    out = function(x, weight, gn_weight, gn_bias, groups=4, num_groups=8)
    gate = torch.sigmoid(gn_bias).view(1, 8, 1, 1)
    torch.testing.assert_close(out, x * gate * gate)
    out.sum().backward()
    torch.testing.assert_close(x.grad, (gate * gate).expand_as(x))
    assert not weight.grad.any()


@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning', 'ignore::DeprecationWarning')
@pytest.mark.parametrize('side', [1, 5])
def test_a_trace_is_right_at_other_sizes(side):
    """Also one of a map whose normalisation groups hold one element, and for such maps."""
    (x, *parameters), _ = make_inputs((1, 8, side, side), dtype=torch.float32)
    options = dict(groups=4, num_groups=8)
    traced = torch.jit.trace(lambda x: ela(x, *parameters, **options), x)
    assert 'PythonOp' not in str(traced.graph)
    for other in [(1, 8, 1, 1), (2, 8, 6, 9)]:
        x = make_inputs(other, dtype=torch.float32)[0][0]
        expected = ela_reference(x, *parameters, **options)
        torch.testing.assert_close(traced(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('function', [ela])
def test_an_even_kernel_is_refused(function):
    (x, _, *norm), _ = make_inputs((2, 8, 7, 5))
    with pytest.raises(ConfigError, match='conv_weight'):
        function(x, torch.zeros(8, 2, 4), *norm, **SMALL.options)
