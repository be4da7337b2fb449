"""The function against the formula written out in NumPy, and the implementations against it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

from mmela import ELA
from mmela.errors import ConfigError
from mmela.ops import ela, ela_gates, ela_lean, ela_reference

IMPLEMENTATIONS = {'reference': ela_reference, 'lean': ela_lean}
SHAPES = [(2, 16, 7, 5), (1, 16, 1, 9), (2, 16, 6, 1), (1, 16, 1, 1), (3, 16, 8, 8)]


def make_inputs(shape, *, kernel_size=5, groups=4, dtype=torch.float64, scaled=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    channels = shape[1]

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)

    tensors = [
        normal(*shape),
        normal(channels, channels // groups, kernel_size),
        1 + 0.3 * normal(channels),
        0.3 * normal(channels),
    ]
    return [*tensors, normal(channels)] if scaled else tensors


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


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
@pytest.mark.parametrize('residual', [False, True])
@pytest.mark.parametrize('scaled', [False, True])
@pytest.mark.parametrize('shape', SHAPES)
def test_output_is_the_formula(implementation, residual, scaled, shape):
    inputs = make_inputs(shape, scaled=scaled)
    out = IMPLEMENTATIONS[implementation](*inputs, groups=4, num_groups=8, residual=residual)

    x, weight, gn_weight, gn_bias, *scale = (t.numpy() for t in inputs)
    y_h = gate_by_hand(x.mean(3), weight, gn_weight, gn_bias, 4, 8)[:, :, :, None]
    y_w = gate_by_hand(x.mean(2), weight, gn_weight, gn_bias, 4, 8)[:, :, None, :]
    expected = x * y_h * y_w
    if scaled:
        expected = scale[0][:, None, None] * expected
    if residual:
        expected = x + expected
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
@pytest.mark.parametrize('residual', [False, True])
@pytest.mark.parametrize('scaled', [False, True])
def test_gradients_are_those_of_finite_differences(implementation, residual, scaled):
    inputs = [t.requires_grad_() for t in make_inputs((2, 8, 4, 3), groups=2, scaled=scaled)]

    def function(*tensors):
        return IMPLEMENTATIONS[implementation](*tensors, groups=2, num_groups=4, residual=residual)

    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
def test_second_derivatives_are_those_of_finite_differences(implementation):
    inputs = [t.requires_grad_() for t in make_inputs((1, 4, 3, 2), groups=2, scaled=True)]

    def function(*tensors):
        return IMPLEMENTATIONS[implementation](*tensors, groups=2, num_groups=2, residual=True)

    assert torch.autograd.gradgradcheck(function, inputs)


def test_a_penalty_on_the_last_gradient_is_not_lost():
    x, *parameters = make_inputs((1, 8, 3, 4))
    x.requires_grad_()
    (grad,) = torch.autograd.grad(
        ela_lean(x, *parameters, groups=4, num_groups=4).sum(), x, create_graph=True
    )
    (second,) = torch.autograd.grad(grad.square().sum(), x)
    assert second.abs().max() > 0


@pytest.mark.parametrize('frozen', range(4))
def test_lean_leaves_out_the_gradients_nobody_asked_for(frozen):
    inputs = make_inputs((2, 8, 3, 4))
    for index, tensor in enumerate(inputs):
        tensor.requires_grad_(index != frozen)
    ela_lean(*inputs, groups=4, num_groups=4).square().sum().backward()
    assert [t.grad is None for t in inputs] == [i == frozen for i in range(4)]


def test_lean_takes_an_empty_batch():
    x, *parameters = make_inputs((2, 8, 3, 4))
    x = x[:0].requires_grad_()
    out = ela_lean(x, *parameters, groups=4, num_groups=4)
    out.sum().backward()
    assert out.shape == x.grad.shape == (0, 8, 3, 4)


@pytest.mark.parametrize('dtype, tolerance', [(torch.float16, 2e-3), (torch.bfloat16, 1e-2)])
def test_half_precision_gradients_are_those_of_the_formula(dtype, tolerance):
    halves = [t.requires_grad_() for t in make_inputs((2, 16, 9, 7), dtype=dtype)]
    exact = [t.detach().double().requires_grad_() for t in halves]
    weights = make_inputs((2, 16, 9, 7), seed=3)[0].to(dtype)
    ela_lean(*halves, groups=4, num_groups=8).backward(weights)
    ela_reference(*exact, groups=4, num_groups=8).backward(weights.double())
    for half, reference in zip(halves, exact, strict=True):
        error = (half.grad.double() - reference.grad).norm() / reference.grad.norm()
        assert error < tolerance


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('scaled', [False, True])
def test_lean_gradients_are_those_of_the_formula(shape, scaled):
    grads = {}
    for name, implementation in IMPLEMENTATIONS.items():
        inputs = [t.requires_grad_() for t in make_inputs(shape, scaled=scaled)]
        out = implementation(*inputs, groups=4, num_groups=16, residual=scaled)
        out.backward(torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out))
        grads[name] = [t.grad for t in inputs]
    for lean, reference in zip(grads['lean'], grads['reference'], strict=True):
        torch.testing.assert_close(lean, reference, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize('make_grad', ['expanded', 'transposed', 'channels_last'])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_lean_takes_gradients_of_any_layout(make_grad, memory_format):
    x, *parameters = make_inputs((2, 16, 6, 6))
    grad = {
        'expanded': torch.tensor(0.7, dtype=x.dtype).expand_as(x),
        'transposed': make_inputs((2, 16, 6, 6), seed=1)[0].transpose(2, 3),
        'channels_last': make_inputs((2, 16, 6, 6), seed=1)[0].to(
            memory_format=torch.channels_last
        ),
    }[make_grad]
    grads = []
    for implementation in (ela_lean, ela_reference):
        leaf = x.clone().to(memory_format=memory_format).requires_grad_()
        out = implementation(leaf, *parameters, groups=4, num_groups=8)
        grads += torch.autograd.grad(out, leaf, grad)
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_memory_format_is_kept_in_both_directions(memory_format):
    x, *parameters = make_inputs((2, 16, 6, 5), dtype=torch.float32)
    x = x.to(memory_format=memory_format).requires_grad_()
    out = ela(x, *parameters, groups=4, num_groups=8)
    (grad,) = torch.autograd.grad(out.square().sum(), x)
    assert out.is_contiguous(memory_format=memory_format)
    assert grad.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize('residual', [False, True])
def test_lean_keeps_nothing_of_full_size_but_its_input(residual):
    inputs = [t.requires_grad_() for t in make_inputs((2, 16, 12, 10))]
    x = inputs[0]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        ela_lean(*inputs, groups=4, num_groups=8, residual=residual)
    full = [t for t in kept if t.numel() >= x.numel()]
    assert len(full) == 1 and full[0].data_ptr() == x.data_ptr()


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_maps_have_gates_of_single_precision(implementation, dtype):
    x, *parameters = make_inputs((2, 16, 9, 7), dtype=dtype)
    out = IMPLEMENTATIONS[implementation](x, *parameters, groups=4, num_groups=8)
    y_h, y_w = ela_gates(x, *parameters, groups=4, num_groups=8)
    exact = ela_reference(x.double(), *(p.double() for p in parameters), groups=4, num_groups=8)
    assert out.dtype == dtype and y_h.dtype == y_w.dtype == torch.float32
    # Three roundings, of the gates and of two products, each of half a unit in the last place.
    unit = torch.finfo(dtype).eps
    assert ((out.double() - exact).abs() <= 2 * unit * exact.abs() + 1e-6).all()


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
def test_autocast_does_not_lower_the_precision_of_the_gate(implementation):
    inputs = make_inputs((2, 16, 9, 7), dtype=torch.float32)
    function = IMPLEMENTATIONS[implementation]
    outside = function(*inputs, groups=4, num_groups=8)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = function(*inputs, groups=4, num_groups=8)
    assert torch.equal(inside, outside)


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
def test_parameters_of_another_precision_get_gradients_of_their_own(implementation):
    x, *parameters = make_inputs((2, 16, 5, 5), dtype=torch.float16)
    parameters = [p.float().requires_grad_() for p in parameters]
    out = IMPLEMENTATIONS[implementation](x.requires_grad_(), *parameters, groups=4, num_groups=8)
    out.float().sum().backward()
    assert x.grad.dtype == torch.float16
    assert all(p.grad.dtype == torch.float32 for p in parameters)


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
def test_one_element_groups_normalise_to_zero(implementation):
    """A map of 1x1 with one channel a group: the gate is sigmoid(bias), whatever the map holds."""
    x, weight, gn_weight, gn_bias = make_inputs((1, 16, 1, 1), dtype=torch.float32)
    x = (1e4 * x).requires_grad_()
    weight.requires_grad_()
    out = IMPLEMENTATIONS[implementation](x, weight, gn_weight, gn_bias, groups=4, num_groups=16)
    gate = torch.sigmoid(gn_bias).view(1, 16, 1, 1)
    torch.testing.assert_close(out, x * gate * gate)
    out.sum().backward()
    torch.testing.assert_close(x.grad, (gate * gate).expand_as(x))
    assert not weight.grad.any()


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
@pytest.mark.parametrize('view', ['strided', 'expanded'])
@pytest.mark.parametrize('index', range(1, 5))
def test_parameters_may_be_views_of_others(implementation, view, index):
    inputs = make_inputs((2, 16, 5, 6), scaled=True)
    options = dict(groups=4, num_groups=8)
    if view == 'strided':
        inputs[index] = inputs[index].repeat_interleave(2, dim=0)[::2]
    else:
        inputs[index] = inputs[index][:1].expand_as(inputs[index])
    leaves = [t.requires_grad_() for t in inputs]
    dense = [t.detach().clone(memory_format=torch.contiguous_format) for t in inputs]
    results = []
    for function, tensors in (
        (IMPLEMENTATIONS[implementation], leaves),
        (ela_reference, [t.requires_grad_() for t in dense]),
    ):
        out = function(*tensors, **options)
        results.append([out, *torch.autograd.grad(out.square().sum(), tensors)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize('create_graph', [False, True])
def test_hooks_see_each_gradient_once(create_graph):
    def gradients(implementation):
        inputs = [t.requires_grad_() for t in make_inputs((2, 8, 3, 4), groups=2, scaled=True)]
        calls = []
        for index, tensor in enumerate(inputs):
            tensor.register_hook(lambda grad, index=index: calls.append(index) or 2 * grad)
        out = implementation(*inputs, groups=2, num_groups=4).square().sum()
        grads = torch.autograd.grad(out, inputs, create_graph=create_graph)
        assert sorted(calls) == list(range(5))
        return grads

    for ours, theirs in zip(gradients(ela_lean), gradients(ela_reference), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_many_gradients_at_once_are_those_one_by_one():
    inputs = [t.requires_grad_() for t in make_inputs((2, 8, 3, 4), groups=2, scaled=True)]
    grads = torch.stack([make_inputs((2, 8, 3, 4), seed=seed)[0] for seed in (1, 2, 3)])
    out = ela(*inputs, groups=2, num_groups=4)
    each = [torch.autograd.grad(out, inputs, grad, retain_graph=True) for grad in grads]
    together = torch.autograd.grad(out, inputs, grads, is_grads_batched=True, retain_graph=True)
    mapped = torch.func.vmap(
        lambda grad: torch.autograd.grad(out, inputs, grad, retain_graph=True)
    )(grads)
    for expected, *found in zip(zip(*each, strict=True), together, mapped, strict=True):
        for ours in found:
            assert not ours.requires_grad
            torch.testing.assert_close(ours, torch.stack(expected), rtol=1e-9, atol=1e-11)


def test_an_even_kernel_is_refused():
    x, _, *norm = make_inputs((2, 16, 7, 5))
    with pytest.raises(ConfigError, match='odd kernel size, and conv_weight has 4 taps'):
        ela(x, torch.zeros(16, 4, 4), *norm, groups=4, num_groups=8)


@pytest.mark.parametrize('index', range(5))
def test_tensors_of_another_kind_get_the_formula(index):
    from torch.testing._internal.two_tensor import TwoTensor

    inputs = make_inputs((2, 16, 5, 6), scaled=True)
    expected = ela_reference(*inputs, groups=4, num_groups=8)
    inputs[index] = TwoTensor(inputs[index], inputs[index].clone())
    out = ela(*inputs, groups=4, num_groups=8)
    torch.testing.assert_close(out.a, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(out.b, expected, rtol=1e-9, atol=1e-11)


def test_compilers_and_exporters_see_one_graph():
    class Gate(torch.nn.Module):
        def forward(self, *tensors):
            return ela(*tensors, groups=4, num_groups=8)

    inputs = make_inputs((1, 16, 6, 5), dtype=torch.float32)
    expected = Gate()(*inputs)
    compiled = torch.compile(Gate(), backend='eager', fullgraph=True)
    exported = torch.export.export(Gate(), tuple(inputs)).module()
    torch.testing.assert_close(compiled(*inputs), expected)
    torch.testing.assert_close(exported(*inputs), expected)


@pytest.mark.parametrize('transform', ['grad', 'jvp', 'vmap'])
def test_transforms_of_torch_func_see_the_plain_formula(transform):
    torch.manual_seed(0)
    layer = ELA(16, num_groups=4).double()
    x, direction = torch.randn(2, 3, 16, 5, 4, dtype=torch.float64)

    def loss(x):
        return layer(x).square().sum()

    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    if transform == 'grad':
        torch.testing.assert_close(torch.func.grad(loss)(x), gradient)
    elif transform == 'jvp':
        found = torch.func.jvp(loss, (x,), (direction,))[1]
        torch.testing.assert_close(found, (gradient * direction).sum())
    else:
        torch.testing.assert_close(torch.func.vmap(layer)(x[None])[0], layer(x))


@pytest.mark.parametrize('recording', [True, False])
def test_forward_mode_differentiation_sees_the_plain_formula(recording):
    x, *parameters = make_inputs((2, 16, 5, 6))
    direction = torch.randn_like(x)
    options = dict(groups=4, num_groups=8)
    expected = torch.func.jvp(
        lambda x: ela_reference(x, *parameters, **options), (x,), (direction,)
    )[1]
    # Without gradients in reverse, a tangent that is dropped would go unnoticed.
    with torch.set_grad_enabled(recording), forward_ad.dual_level():
        out = ela(forward_ad.make_dual(x, direction), *parameters, **options)
        torch.testing.assert_close(forward_ad.unpack_dual(out).tangent, expected)


def test_tracing_sees_the_plain_formula():
    inputs = make_inputs((1, 16, 6, 5), dtype=torch.float32)
    traced = torch.jit.trace(lambda *t: ela(*t, groups=4, num_groups=8), tuple(inputs))
    assert 'PythonOp' not in str(traced.graph)
    torch.testing.assert_close(traced(*inputs), ela(*inputs, groups=4, num_groups=8))
