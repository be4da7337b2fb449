"""Which implementation serves which input, and the errors where the kernels cannot run."""

from __future__ import annotations

import sys

import pytest
import torch
from ela_layers import DEVICE, SMALL, kernels, make_inputs, outcome
from torch.autograd import forward_ad

from mmela import ELA
from mmela.errors import ConfigError
from mmela.ops import ela, ela_reference

pytest.importorskip('triton', minversion='3.2', reason='the kernels need Triton')
from mmela.ops import triton_passes  # noqa: E402

SHAPE = (2, 8, 6, 5)
BOTH_SETTINGS = pytest.mark.parametrize('fused', ['auto', True])


@pytest.fixture
def launches(monkeypatch):
    """Counts the passes that kernels make."""
    calls, launch = [], triton_passes._launch

    def count(*arguments, **flags):
        calls.append(1)
        launch(*arguments, **flags)

    monkeypatch.setattr(triton_passes, '_launch', count)
    return calls


def test_kernels_run_only_where_they_are_asked_for(launches):
    """No measurement on a GPU is committed, so 'auto' does not take them."""
    inputs, grad = make_inputs(SHAPE, dtype=torch.float32)
    for fused, passes in (('auto', 0), (False, 0), (True, 4)):
        launches.clear()
        outcome(ela, inputs, grad, **SMALL.options, fused=fused)
        assert len(launches) == passes


def refused(inputs, cause):
    with pytest.raises(ConfigError, match='fused=True') as error:
        kernels(*inputs, **SMALL.options)
    message = str(error.value)
    assert cause in message and "fused='auto'" in message
    return True


def test_the_cause_is_named_where_they_cannot_run(monkeypatch):
    inputs, _ = make_inputs(SHAPE, dtype=torch.float32)
    on_meta = [inputs[0], *(p.to('meta') for p in inputs[1:])]
    assert refused(on_meta, 'parameters are on another device')
    assert refused([inputs[0].to(torch.complex64), *inputs[1:]], 'torch.complex64')
    huge = torch.empty(1, device=DEVICE).expand(1, 8, 2**15, 2**15)
    assert refused([huge, *inputs[1:]], '32768')
    cpu = [t.cpu() for t in inputs]
    with monkeypatch.context() as patch:
        patch.delenv('TRITON_INTERPRET', raising=False)
        assert refused(cpu, 'on CUDA devices')
    with monkeypatch.context() as patch:
        patch.setattr('triton.__version__', '3.1.0')
        assert refused(cpu, '3.2 or newer')
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, 'triton', None)
        assert refused(cpu, 'pip install')
    assert ela(*cpu, **SMALL.options).shape == SHAPE


def test_the_layer_takes_them_and_its_copy_can_do_without(launches):
    layer = ELA(16, 'S', residual='scaled', fused=True).to(DEVICE)
    x = torch.randn(1, 16, 9, 7, device=DEVICE)
    out = layer(x)
    assert launches
    layer.fused = False
    torch.testing.assert_close(layer(x), out, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('index', range(5))
def test_tensors_of_another_kind_get_the_formula(index):
    from torch.testing._internal.two_tensor import TwoTensor

    inputs, _ = make_inputs(SHAPE, scaled=True)
    expected = ela_reference(*inputs, **SMALL.options)
    inputs[index] = TwoTensor(inputs[index], inputs[index].clone())
    out = ela(*inputs, **SMALL.options)
    torch.testing.assert_close(out.a, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(out.b, expected, rtol=1e-9, atol=1e-11)


@BOTH_SETTINGS
def test_tensors_without_memory_get_the_formula(fused):
    from torch._subclasses import FakeTensorMode

    layer = ELA(16, num_groups=4, fused=fused)
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert layer(torch.empty(2, 16, 5, 6)).shape == (2, 16, 5, 6)
    meta = torch.empty(2, 16, 5, 6, device='meta')
    assert layer.to('meta')(meta).shape == (2, 16, 5, 6)


@BOTH_SETTINGS
def test_compilers_and_exporters_see_one_graph_of_the_formula(fused, launches):
    layer = ELA(8, num_groups=4, residual='scaled', fused=fused).to(DEVICE)
    torch.nn.init.normal_(layer.scale)
    x = torch.randn(1, 8, 6, 5, device=DEVICE)
    expected = ELA.forward(layer, x)
    launches.clear()
    torch.compiler.reset()
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(layer, backend=keep, fullgraph=True)
    exported = torch.export.export(layer, (x,))
    torch.testing.assert_close(compiled(x), expected)
    torch.testing.assert_close(exported.module()(x), expected)
    assert len(graphs) == 1 and not launches
    for graph in (graphs[0], exported.graph_module):
        code = ''.join(part.code for part in graph.modules() if hasattr(part, 'code'))
        assert 'sigmoid' in code and 'autograd_function' not in code
    torch.compiler.reset()


@pytest.mark.parametrize('transform', ['grad', 'jvp', 'vmap'])
def test_transforms_of_torch_func_see_the_formula(transform):
    torch.manual_seed(0)
    layer = ELA(16, num_groups=4, fused=True).double().to(DEVICE)
    x, direction = torch.randn(2, 3, 16, 5, 4, dtype=torch.float64, device=DEVICE)

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
def test_forward_mode_differentiation_sees_the_formula(recording):
    (x, *parameters), direction = make_inputs(SHAPE)
    expected = torch.func.jvp(
        lambda x: ela_reference(x, *parameters, **SMALL.options), (x,), (direction,)
    )[1]
    # Without gradients in reverse, a tangent that is dropped would go unnoticed.
    with torch.set_grad_enabled(recording), forward_ad.dual_level():
        out = ela(forward_ad.make_dual(x, direction), *parameters, **SMALL.options)
        torch.testing.assert_close(forward_ad.unpack_dual(out).tangent, expected)


def test_a_compiled_layer_passes_tangents_on():
    (x, *parameters), direction = make_inputs((1, 8, 3, 4), dtype=torch.float32)
    torch.compiler.reset()
    compiled = torch.compile(lambda x: ela(x, *parameters, **SMALL.options), backend='aot_eager')
    tangents = []
    for function in (compiled, lambda x: ela_reference(x, *parameters, **SMALL.options)):
        with forward_ad.dual_level():
            out = function(forward_ad.make_dual(x, direction))
            tangents.append(forward_ad.unpack_dual(out).tangent)
    torch.testing.assert_close(*tangents)
    torch.compiler.reset()
