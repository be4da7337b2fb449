"""The fused kernels against the formula in float64; interpreted where there is no GPU."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from typing import NamedTuple

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from mmela import ELA
from mmela.errors import ConfigError
from mmela.ops import dispatch, ela, ela_reference
from mmela.ops.fused import availability, unavailable

pytest.importorskip('triton', reason='the fused kernels need Triton')
if availability.toolchain_fault():
    pytest.skip(availability.toolchain_fault(), allow_module_level=True)

from mmela.ops.fused import launch  # noqa: E402

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
PATHS = ['one', 'split']


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


@pytest.fixture(autouse=True)
def convolutions_of_the_formula_in_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)


@pytest.fixture
def use_path(monkeypatch):
    """Has every map take one path of `plan`."""

    def use(path):
        monkeypatch.setattr(launch, 'FORCED_PATH', path)

    return use


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


def assert_is_the_formula(inputs, grad, layer, *, residual=False, tolerance=None):
    """Output and all gradients, in relative error of the whole tensor."""
    options = dict(layer.options, residual=residual)
    found = outcome(fused, inputs, grad, **options)
    exact = outcome(ela_reference, [t.double() for t in inputs], grad.double(), **options)
    names = ['out', 'x', 'conv.weight', 'gn.weight', 'gn.bias', 'scale']
    for name, ours, formula in zip(names, found, exact, strict=False):
        error = (ours.double() - formula).norm() / formula.norm().clamp_min(1e-30)
        # Parameters and their gradients are float32 here; the map's dtype limits what it touches.
        limit = tolerance or TOLERANCE[inputs[0].dtype]
        # Where groups hold one element the gradient is zero, and so must ours be, nearly.
        assert error < limit or (ours.double() - formula).abs().max() < 1e-6, (name, error)
    for tensor in found[:2]:
        assert tensor.dtype == inputs[0].dtype
    return found


SHAPES = [(1, 8, 1, 9), (1, 8, 6, 1), (1, 8, 1, 1), (2, 8, 7, 7), (1, 8, 33, 20)]


@pytest.mark.parametrize('path', PATHS)
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('shape', SHAPES)
def test_odd_shapes(use_path, shape, channels_last, path):
    use_path(path)
    layer = Layer(5, 4, 2)
    assert_is_the_formula(*make_inputs(shape, layer, channels_last=channels_last), layer)


@pytest.mark.parametrize('name', ['T', 'B', 'S', 'L'])
@pytest.mark.parametrize(
    'channels_last', [True, pytest.param(False, marks=pytest.mark.long)], ids=['last', 'first']
)
def test_variants(name, channels_last):
    layer = variant(name, 32)
    assert_is_the_formula(*make_inputs((1, 32, 5, 6), layer, channels_last=channels_last), layer)


@pytest.mark.parametrize('path', PATHS)
@pytest.mark.parametrize('residual, scaled', [(False, False), (True, False), (True, True)])
def test_residual_forms(use_path, residual, scaled, path):
    use_path(path)
    layer = Layer(5, 4, 2)
    inputs = make_inputs((1, 8, 9, 12), layer, scaled=scaled)
    assert_is_the_formula(*inputs, layer, residual=residual)


@pytest.mark.parametrize('path', PATHS)
@pytest.mark.parametrize('dtype', TOLERANCE)
def test_dtypes(use_path, dtype, path):
    use_path(path)
    layer = Layer(7, 2, 2)
    assert_is_the_formula(*make_inputs((1, 8, 7, 24), layer, dtype), layer)


@pytest.mark.parametrize('path', PATHS)
@pytest.mark.parametrize(
    'channels, layer',
    {
        8: Layer(3, 8, 8),  # a unit of one channel
        12: Layer(7, 3, 4),  # units of 12: three groups of the norm, four of the convolution
        24: Layer(5, 3, 4),  # units of 24: four groups of the norm
        10: Layer(5, 1, 2),  # every channel meets every other
        16: Layer(1, 16, 1),  # one group of the norm
    }.items(),
)
def test_units_of_any_size(use_path, channels, layer, path):
    use_path(path)
    assert_is_the_formula(*make_inputs((1, channels, 6, 5), layer), layer)


@pytest.mark.parametrize('channels_last', [False, True])
def test_strips_launched_between(use_path, monkeypatch, channels_last):
    """Many programs to a unit: the strips have a launch of their own."""
    use_path('split')
    monkeypatch.setattr('mmela.ops.fused.plan.REPEATED_STRIPS', 1)
    launch._prepare_forward.cache_clear()
    launch._prepare_backward.cache_clear()
    layer = Layer(5, 8, 2)
    inputs, grad = make_inputs((1, 8, 40, 19), layer, channels_last=channels_last)
    shape = launch.shape_of(inputs[0], inputs[1], layer.groups, layer.num_groups)
    assert len(launch._prepare_forward(shape, False, 'split').launches) == 3
    assert_is_the_formula(inputs, grad, layer)


@pytest.mark.parametrize('path', PATHS)
def test_groups_longer_than_a_tile(use_path, path):
    use_path(path)
    layer = Layer(3, 8, 1)
    shape = (1, 8, 2, 1200)
    assert launch._prepare_forward(
        launch.Shape(*shape, 4, False, *layer, 2), False, path
    ).launches[-1].constants['BLOCK_STRIP'] < 1200  # fmt: skip
    assert_is_the_formula(*make_inputs(shape, layer), layer)


def no_worse_than_the_formula(inputs, grad, layer):
    """Where the problem itself loses digits: at most twice the error of the formula in float32."""
    found = outcome(fused, inputs, grad, **layer.options)
    single = outcome(ela_reference, inputs, grad, **layer.options)
    exact = outcome(ela_reference, [t.double() for t in inputs], grad.double(), **layer.options)
    for ours, formula, truth in zip(found, single, exact, strict=True):
        assert (ours - truth).norm() <= 2 * (formula - truth).norm() + 1e-5 * truth.norm()


def test_groups_of_two_elements():
    """Normalised they are -1 and 1 whatever they are, and hardly anything passes backward."""
    layer = Layer(5, 4, 4)
    no_worse_than_the_formula(*make_inputs((2, 8, 1, 9), layer), layer)


def test_a_mean_far_from_zero_costs_no_more_digits_than_the_formula():
    layer = Layer(3, 8, 1)  # longer than a tile: the variance is taken about a first guess
    inputs, grad = make_inputs((1, 8, 2, 1200), layer)
    inputs[0] += 30
    no_worse_than_the_formula(inputs, grad, layer)


LARGE = [
    (1, 8, 100, 136),
    pytest.param((2, 256, 100, 136), marks=pytest.mark.long),
    pytest.param((1, 16, 200, 304), marks=pytest.mark.long),
    pytest.param((1, 2048, 7, 7), marks=pytest.mark.long),
    pytest.param((1, 2048, 20, 20), marks=pytest.mark.long),
]


@pytest.mark.parametrize('shape', LARGE)
def test_large_maps(shape):
    layer = variant('S', shape[1]) if shape[1] > 16 else Layer(7, 8, 2)
    assert_is_the_formula(*make_inputs(shape, layer), layer)


@pytest.mark.long
@pytest.mark.parametrize('name, dtype', zip('TBSL', [*TOLERANCE, torch.float32], strict=True))
@pytest.mark.parametrize('channels', [8, 144, 512])
@pytest.mark.parametrize('channels_last', [False, True])
def test_widths(name, dtype, channels, channels_last):
    layer = variant(name, channels)
    inputs = make_inputs((1, channels, 14, 10), layer, dtype, channels_last=channels_last)
    assert_is_the_formula(*inputs, layer)


@pytest.mark.skipif(DEVICE == 'cpu', reason='needs 20 GB on a GPU')
@pytest.mark.long
def test_tensors_of_more_than_two_to_the_31_elements():
    layer = variant('T', 64)
    inputs, _ = make_inputs((1, 64, 512, 512), layer, torch.float16)
    x, *parameters = inputs
    many = x.expand(130, -1, -1, -1).contiguous()
    assert many.numel() > 2**31
    out = fused(many, *parameters, **layer.options)
    assert torch.equal(out[-1:], fused(x, *parameters, **layer.options))


LAYOUTS = {
    'a slice of channels': lambda t: torch.cat([t, t], 1)[:, : t.size(1)],
    'transposed': lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    'rows upside down, every other': lambda t: t.repeat_interleave(2, 2)[:, :, ::2],
    'channels_last': lambda t: t.contiguous(memory_format=torch.channels_last),
}


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


@pytest.mark.parametrize('path', PATHS)
def test_results_are_the_same_to_the_bit(use_path, path):
    use_path(path)
    layer = Layer(5, 4, 2)
    shape = (2, 8, 21, 13) if DEVICE == 'cpu' else (16, 8, 321, 213)
    inputs, grad = make_inputs(shape, layer, torch.float16, scaled=True)
    first = outcome(fused, inputs, grad, **layer.options)
    for _ in range(1 if DEVICE == 'cpu' else 20):
        again = outcome(fused, inputs, grad, **layer.options)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_one_element_groups_normalise_to_zero():
    layer = Layer(5, 4, 4)
    inputs, grad = make_inputs((1, 4, 1, 1), layer)
    out, grad_x, grad_weight, *_ = outcome(fused, inputs, grad, **layer.options)
    gate = torch.sigmoid(inputs[3]).view(1, 4, 1, 1)
    torch.testing.assert_close(out, inputs[0] * gate * gate)
    # What is left of differences that are zero is rounding, times 1 / sqrt(eps).
    torch.testing.assert_close(grad_x, grad * gate * gate, rtol=1e-4, atol=1e-4)
    assert grad_weight.abs().max() < 1e-3


def test_nan_stays_visible():
    layer = Layer(5, 8, 2)
    (x, *parameters), _ = make_inputs((2, 8, 6, 8), layer)
    x[1, 2, 3, 4] = float('nan')
    bad = torch.isnan(fused(x, *parameters, **layer.options))
    assert bad[1, :4].all() and not bad[0].any() and not bad[1, 4:].any()  # its group, no other


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


# How the rest of PyTorch meets them.


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


def test_the_layer_and_its_deep_copy():
    layer = ELA(16, 'S', residual='scaled', fused=True).to(DEVICE)
    torch.nn.init.normal_(layer.scale)
    average = copy.deepcopy(layer)
    average.fused = False
    x = torch.randn(1, 16, 9, 7, device=DEVICE)
    torch.testing.assert_close(layer(x), average(x), rtol=1e-5, atol=1e-5)


def operator_arguments(layer, inputs):
    return (*inputs, *([None] * (5 - len(inputs))), layer.groups, layer.num_groups, False, 1e-5)


ALL_RULES = (
    'test_schema',
    'test_autograd_registration',
    'test_faketensor',
    'test_aot_dispatch_dynamic',
)


@pytest.mark.parametrize(
    'scaled, layout, rules',
    [
        (True, 'transposed', ALL_RULES),
        (False, 'channels_last', ('test_schema', 'test_faketensor')),
    ],
)
def test_the_operator_keeps_the_rules_of_the_library(scaled, layout, rules):
    """Schema, fake kernel, autograd registration, and all of it in a traced graph."""
    layer = Layer(3, 2, 1)
    (x, *parameters), _ = make_inputs((2, 4, 5, 4), layer, scaled=scaled)
    inputs = [t.detach().requires_grad_() for t in (LAYOUTS[layout](x), *parameters)]
    arguments = operator_arguments(layer, inputs)
    torch.library.opcheck(torch.ops.mmela.ela_forward, arguments, test_utils=rules)


def test_the_backward_operator_keeps_the_rules_of_the_library():
    layer = Layer(3, 2, 1)
    inputs, grad = make_inputs((2, 4, 5, 4), layer)
    _, strips = torch.ops.mmela.ela_forward(*operator_arguments(layer, inputs))
    for wants_x, wants_parameters in [(True, True), (True, False), (False, True)]:
        arguments = (
            *(grad, inputs[0], strips, *inputs[1:], None, layer.groups, layer.num_groups),
            *(False, wants_x, wants_parameters),
        )
        torch.library.opcheck(
            torch.ops.mmela.ela_backward, arguments, test_utils=('test_schema', 'test_faketensor')
        )


@pytest.fixture
def compile_on_any_device(monkeypatch):
    """Lets a CPU map take the operator under `torch.compile`, as one on CUDA does."""
    monkeypatch.setattr(dispatch, '_takes_kernels', lambda *arguments: True)
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def test_compiled_training_has_no_graph_break(compile_on_any_device):
    layer = Layer(3, 2, 1)
    inputs, grad = make_inputs((2, 4, 5, 4), layer)

    def network(*tensors):
        return torch.relu(ela(2 * tensors[0], *tensors[1:], **layer.options))

    compiled = torch.compile(network, backend='aot_eager', fullgraph=True)
    for a, b in zip(outcome(compiled, inputs, grad), outcome(network, inputs, grad), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('setting', ['auto', True, False])
def test_a_compiler_sees_one_operator_for_maps_on_cuda(monkeypatch, setting):
    from torch._subclasses.fake_tensor import FakeTensorMode

    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda index=None: (9, 0))
    layer = Layer(3, 4, 4)
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph.forward

    def network(*tensors):
        return ela(*tensors, **layer.options, fused=setting)

    torch.compiler.reset()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device('cuda'):
        inputs = [torch.empty(s) for s in [(2, 8, 5, 4), (8, 2, 3), (8,), (8,)]]
        assert inputs[0].is_cuda
        out = torch.compile(network, backend=keep, fullgraph=True)(*inputs)
    torch.compiler.reset()
    assert out.shape == (2, 8, 5, 4)
    targets = [str(node.target) for graph in graphs for node in graph.graph.nodes]
    assert any('mmela.ela_forward' in target for target in targets) == (setting is not False)


def test_tracers_get_the_plain_formula_even_so():
    layer = Layer(3, 4, 4)
    inputs, _ = make_inputs((2, 8, 5, 4), layer)
    traced = torch.jit.trace(lambda *t: fused(*t, **layer.options), tuple(inputs))
    assert not any('Python' in n.kind() or 'mmela' in n.kind() for n in traced.graph.nodes())


def test_exporters_get_the_plain_formula_even_so():
    layer = ELA(16, num_groups=4, fused=True).to(DEVICE)
    program = torch.export.export(layer, (torch.randn(1, 16, 6, 5, device=DEVICE),))
    assert not any('mmela' in str(node.target) for node in program.graph.nodes)


# Who takes them.


def test_maps_on_the_cpu_are_left_to_the_lean_version(monkeypatch):
    layer = ELA(16, num_groups=4, fused=True).to(DEVICE)
    layer(torch.randn(1, 16, 4, 4, device=DEVICE))  # the probe is over before kernels are refused

    def refuse(*arguments):
        raise AssertionError('a kernel was launched')

    monkeypatch.setattr(launch, 'forward', refuse)
    ELA(16, num_groups=4)(torch.randn(1, 16, 4, 4))
    with pytest.raises(AssertionError):
        layer(torch.randn(1, 16, 4, 4, device=DEVICE))


REASONS = {
    'the map is float64': dict(dtype=torch.float64),
    'the map is empty': dict(shape=(0, 8, 4, 4)),
    'wider than': dict(shape=(1, 8, 1, 10000)),
    'the kernel size is above': dict(kernel_size=65),
}


@pytest.mark.parametrize('reason', REASONS)
def test_a_reason_is_given_where_they_cannot_be_had(reason):
    wrong = {'dtype': torch.float32, 'shape': (1, 8, 4, 4), 'kernel_size': 3, **REASONS[reason]}
    layer = Layer(wrong['kernel_size'], 4, 4)
    inputs, _ = make_inputs(wrong['shape'], layer, wrong['dtype'])
    with pytest.raises(ConfigError, match=reason):
        fused(*inputs, **layer.options)
    assert ela(*inputs, **layer.options).shape == wrong['shape']


def test_the_cpu_is_a_reason_without_the_interpreter(monkeypatch):
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    x, weight = torch.randn(1, 8, 4, 4), torch.randn(8, 2, 3)
    assert 'the map is on cpu' in unavailable(x, weight, 4, 4, probe=False)


def test_the_first_use_of_a_device_compares_the_kernels_with_the_formula(monkeypatch):
    device = torch.device(DEVICE)
    right = launch.backward

    def wrong(*arguments):
        grad_x, *others = right(*arguments)
        return grad_x * 1.01, *others

    monkeypatch.setattr(launch, 'backward', wrong)
    monkeypatch.setattr(availability, '_probed', {})
    with pytest.warns(UserWarning, match='kernels are not used: on .* off the formula by 0.0'):
        assert 'off the formula' in availability._probe_fault(device)
    # Said once, and known to a compiler that must not see a probe.
    assert 'off the formula' in availability._probe_fault(device)
    assert 'off the formula' in availability.known_probe_fault(device.type, device.index)


@pytest.mark.parametrize(
    'context',
    [
        torch.inference_mode,
        pytest.param(torch.no_grad, marks=pytest.mark.long),
        pytest.param(lambda: torch.device('meta'), marks=pytest.mark.long),
    ],
)
def test_the_first_use_may_come_in_any_mode(monkeypatch, context):
    measure, deviations = availability.deviation_from_formula, []

    def measure_and_note(device):
        deviations.append(measure(device))
        return deviations[0]

    monkeypatch.setattr(availability, 'deviation_from_formula', measure_and_note)
    monkeypatch.setattr(availability, '_probed', {})
    with context():
        assert availability._probe_fault(torch.device(DEVICE)) is None
    assert len(deviations) == 1 and deviations[0] < 1e-5
    assert launch.FORCED_PATH is None


def test_a_device_without_room_for_the_probe_has_no_fault(monkeypatch):
    def run_out(device):
        raise torch.cuda.OutOfMemoryError('no room')

    monkeypatch.setattr(availability, '_probed', {})
    monkeypatch.setattr(availability, 'deviation_from_formula', run_out)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        availability._probe_fault(torch.device(DEVICE))
    assert not availability._probed


def test_fake_maps_go_through_the_operator():
    from torch._subclasses import FakeTensorMode

    layer = ELA(16, num_groups=4, fused=True).to(DEVICE)
    with FakeTensorMode(allow_non_fake_inputs=True):
        out = layer(torch.empty(2, 16, 5, 6, device=DEVICE))
    assert out.shape == (2, 16, 5, 6)


def test_a_missing_triton_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, 'triton', None)
    assert 'Triton cannot be imported' in availability.toolchain_fault()


def test_an_old_gpu_is_a_reason(monkeypatch):
    monkeypatch.setattr(torch.version, 'cuda', '12.4')
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda index: (7, 5))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda index: 'Tesla T4')
    assert 'Tesla T4 has 7.5' in availability.device_fault('cuda', 0)


def test_nobody_pays_for_triton_who_does_not_use_it():
    program = 'import sys, mmela, mmela.ops; sys.exit("triton" in sys.modules)'
    environment = {k: v for k, v in os.environ.items() if k != 'TRITON_INTERPRET'}
    assert subprocess.run([sys.executable, '-c', program], env=environment).returncode == 0
