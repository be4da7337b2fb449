"""The fused kernels in graphs: those of compilers, tracers and exporters, and those of CUDA."""

from __future__ import annotations

import pytest
import torch
from fused_layers import DEVICE, LAYOUTS, PATHS, Layer, fused, make_inputs, outcome
from torch.autograd import forward_ad

from mmela import ELA
from mmela.ops import dispatch, ela, ela_reference


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


def test_fake_maps_go_through_the_operator():
    from torch._subclasses import FakeTensorMode

    layer = ELA(16, num_groups=4, fused=True).to(DEVICE)
    with FakeTensorMode(allow_non_fake_inputs=True):
        out = layer(torch.empty(2, 16, 5, 6, device=DEVICE))
    assert out.shape == (2, 16, 5, 6)


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


def test_a_compiled_training_step_is_one_operator_in_each_direction():
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    layer = Layer(3, 2, 1)
    inputs, grad = make_inputs((2, 4, 5, 4), layer)
    graphs = []

    def keep(direction):
        def compiler(graph, _):
            targets = [str(node.target) for node in graph.graph.nodes]
            graphs.append((direction, [target for target in targets if 'mmela' in target]))
            return make_boxed_func(graph.forward)

        return compiler

    def network(*tensors):
        return torch.relu(fused(2 * tensors[0], *tensors[1:], **layer.options))

    backend = aot_autograd(fw_compiler=keep('forward'), bw_compiler=keep('backward'))
    torch.compiler.reset()
    outcome(torch.compile(network, backend=backend, fullgraph=True), inputs, grad)
    torch.compiler.reset()
    assert graphs == [
        ('forward', ['mmela.ela_forward.default']),
        ('backward', ['mmela.ela_backward.default']),
    ]


def test_a_compiled_layer_passes_tangents_on():
    layer = Layer(3, 2, 1)
    inputs, direction = make_inputs((1, 4, 3, 4), layer)
    compiled = torch.compile(lambda x: fused(x, *inputs[1:], **layer.options), backend='aot_eager')
    tangents = []
    for function in (compiled, lambda x: ela_reference(x, *inputs[1:], **layer.options)):
        with forward_ad.dual_level():
            out = function(forward_ad.make_dual(inputs[0], direction))
            tangents.append(forward_ad.unpack_dual(out).tangent)
    torch.testing.assert_close(*tangents)


@pytest.fixture
def fake_cuda(monkeypatch):
    """Lets maps without memory lie on a GPU that need not be there."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda index=None: (9, 0))
    torch.compiler.reset()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device('cuda'):
        yield
    torch.compiler.reset()


def test_a_compiler_takes_few_graphs_for_many_sizes(fake_cuda):
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph.forward

    parameters = [torch.empty(s) for s in [(32, 1, 5), (32,), (32,)]]

    def network(x):
        return ela(2 * x, *parameters, groups=32, num_groups=4)

    compiled = torch.compile(network, backend=keep, fullgraph=True)
    with torch.no_grad():
        for i in range(12):
            compiled(torch.empty(2, 32, 20 + i, 24 + 7 * i % 11))
    assert len(graphs) <= 4  # one for the first sizes, then ranges between powers of two
    for graph in graphs:
        assert sum('mmela.ela_forward' in str(node.target) for node in graph.graph.nodes) == 1


@pytest.mark.parametrize('setting', ['auto', True, False])
def test_a_compiler_sees_one_operator_for_maps_on_cuda(fake_cuda, setting):
    layer = Layer(3, 4, 4)
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph.forward

    def network(*tensors):
        return ela(*tensors, **layer.options, fused=setting)

    inputs = [torch.empty(s) for s in [(2, 8, 5, 4), (8, 2, 3), (8,), (8,)]]
    assert inputs[0].is_cuda
    out = torch.compile(network, backend=keep, fullgraph=True)(*inputs)
    assert out.shape == (2, 8, 5, 4)
    targets = [str(node.target) for graph in graphs for node in graph.graph.nodes]
    assert any('mmela.ela_forward' in target for target in targets) == (setting is not False)


@pytest.mark.skipif(DEVICE == 'cpu', reason='CUDA graphs need a GPU')
@pytest.mark.parametrize('path', PATHS)
def test_a_cuda_graph_replays_forward_and_backward(use_path, path):
    use_path(path)
    layer = ELA(16, 'S', residual='scaled', fused=True).to(DEVICE)
    torch.nn.init.normal_(layer.scale)
    x = torch.randn(2, 16, 20, 24, device=DEVICE, requires_grad=True)
    grad = torch.randn_like(x, requires_grad=False)

    def step():
        out = layer(x)
        return [out.detach(), *torch.autograd.grad(out, [x, *layer.parameters()], grad)]

    # What a capture must not hold: compilers, and the comparison at the first use of the device.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        for tensor in (x, grad, *layer.parameters()):
            tensor.normal_()
    graph.replay()
    for replayed, eager in zip(captured, step(), strict=True):
        assert eager.abs().max() > 0
        assert torch.equal(replayed, eager)


def test_tracers_get_the_plain_formula_even_so():
    layer = Layer(3, 4, 4)
    inputs, _ = make_inputs((2, 8, 5, 4), layer)
    traced = torch.jit.trace(lambda *t: fused(*t, **layer.options), tuple(inputs))
    assert not any('Python' in n.kind() or 'mmela' in n.kind() for n in traced.graph.nodes())


def test_exporters_get_the_plain_formula_even_so():
    layer = ELA(16, num_groups=4, fused=True).to(DEVICE)
    program = torch.export.export(layer, (torch.randn(1, 16, 6, 5, device=DEVICE),))
    assert not any('mmela' in str(node.target) for node in program.graph.nodes)
