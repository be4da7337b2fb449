"""The Triton kernels against the formula in float64; interpreted where there is no GPU."""

from __future__ import annotations

import pytest
import torch
from ela_layers import (
    DEVICE,
    FORMATS,
    SMALL,
    Layer,
    assert_is_the_formula,
    kernels,
    make_inputs,
    outcome,
    variant,
)

from mmela import ELA

pytest.importorskip('triton', minversion='3.2', reason='the kernels need Triton')
from mmela.ops import triton_passes  # noqa: E402

HALF, BFLOAT, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
FIRST, LAST = FORMATS
ids = dict(ids=str)


@pytest.fixture
def small_tiles(monkeypatch):
    """Several tiles in each direction, also of a small map."""
    monkeypatch.setattr(triton_passes, 'PLANES', (4, 2, 8))
    monkeypatch.setattr(triton_passes, 'PIXELS', (8, 1, 8))
    monkeypatch.setattr(triton_passes, 'ROWS', 4)


#: Each variant, form, dtype and memory format, and each pair of dtype and memory format.
CASES = [
    ('T', False, SINGLE, FIRST),
    ('T', True, BFLOAT, LAST),
    ('B', 'scaled', HALF, FIRST),
    ('B', False, DOUBLE, LAST),
    ('S', True, SINGLE, LAST),
    ('S', 'scaled', BFLOAT, FIRST),
    ('L', False, HALF, LAST),
    ('L', 'scaled', DOUBLE, FIRST),
]


def check(name, form, dtype, memory_format, shape):
    layer = variant(name, shape[1])
    inputs, grad = make_inputs(
        shape, layer, dtype, scaled=form == 'scaled', memory_format=memory_format
    )
    found = assert_is_the_formula(kernels, inputs, grad, layer, residual=bool(form))
    for tensor in found[:2]:
        assert tensor.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize('name, form, dtype, memory_format', CASES, **ids)
def test_variants_forms_dtypes_and_memory_formats(name, form, dtype, memory_format):
    check(name, form, dtype, memory_format, (1, 32, 7, 5))


@pytest.mark.long
@pytest.mark.core
@pytest.mark.parametrize('memory_format', FORMATS, **ids)
@pytest.mark.parametrize('dtype', [SINGLE, HALF, BFLOAT], **ids)
@pytest.mark.parametrize('form', [False, True, 'scaled'])
@pytest.mark.parametrize('name', 'TBSL')
def test_all_combinations(name, form, dtype, memory_format, small_tiles):
    check(name, form, dtype, memory_format, (1, 16, 7, 6))


@pytest.mark.parametrize('memory_format', FORMATS, **ids)
@pytest.mark.parametrize('shape', [(1, 8, 1, 9), (1, 8, 6, 1), (1, 12, 7, 11)], **ids)
def test_odd_sizes_in_several_tiles(shape, memory_format, small_tiles):
    inputs, grad = make_inputs(shape, scaled=True, memory_format=memory_format)
    assert_is_the_formula(kernels, inputs, grad, residual=True)


@pytest.mark.parametrize(
    'shape, layer',
    [
        ((1, 4, 70, 66), Layer(7, 4, 2)),
        pytest.param((2, 64, 100, 136), Layer(5, 8, 16), marks=pytest.mark.long),
        pytest.param((1, 1024, 7, 7), Layer(5, 128, 16), marks=pytest.mark.long),
    ],
    **ids,
)
def test_maps_larger_than_a_tile(shape, layer):
    inputs, grad = make_inputs(shape, layer, SINGLE)
    assert_is_the_formula(kernels, inputs, grad, layer)


VIEWS = {
    'a slice of channels': lambda t: torch.cat([t, t], 1)[:, : t.size(1)],
    'transposed': lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    'every other row': lambda t: t.repeat_interleave(2, 2)[:, :, ::2],
    'one number': lambda t: t[:1, :1, :1, :1].expand_as(t),
}


@pytest.mark.parametrize('view', VIEWS)
def test_maps_and_gradients_of_any_strides(view):
    inputs, grad = make_inputs((2, 8, 6, 8))
    if view != 'one number':
        assert_is_the_formula(kernels, [VIEWS[view](inputs[0]), *inputs[1:]], grad)
    assert_is_the_formula(kernels, inputs, VIEWS[view](grad))


def test_nan_stays_visible():
    (x, *parameters), _ = make_inputs((2, 8, 6, 8), dtype=SINGLE)
    x[1, 2, 3, 4] = float('nan')
    bad = torch.isnan(kernels(x, *parameters, **SMALL.options))
    assert bad[1, :4].all() and not bad[0].any() and not bad[1, 4:].any()  # its group, no other


@pytest.mark.skipif(DEVICE == 'cpu', reason='needs 20 GB on a GPU')
def test_tensors_of_more_than_two_to_the_31_elements():
    layer = variant('T', 64)
    (x, *parameters), _ = make_inputs((1, 64, 512, 512), layer, HALF)
    many = x.expand(130, -1, -1, -1).contiguous()
    assert many.numel() > 2**31
    out = kernels(many, *parameters, **layer.options)
    assert torch.equal(out[-1:], kernels(x, *parameters, **layer.options))


@pytest.mark.skipif(DEVICE == 'cpu', reason='compiled kernels need a GPU')
def test_other_sizes_compile_no_other_kernel(monkeypatch):
    from triton import knobs

    compiled = []
    monkeypatch.setattr(knobs.runtime, 'jit_post_compile_hook', lambda **_: compiled.append(1))
    for memory_format in FORMATS:
        for count, shape in enumerate([(1, 8, 1, 9), (2, 16, 16, 32), (3, 24, 33, 20)]):
            inputs, grad = make_inputs(shape, dtype=SINGLE, memory_format=memory_format)
            outcome(kernels, inputs, grad, **SMALL.options)
            if count == 1:
                compiled.clear()
        assert not compiled


@pytest.mark.skipif(DEVICE == 'cpu', reason='CUDA graphs need a GPU')
def test_a_cuda_graph_replays_forward_and_backward():
    layer = ELA(16, 'S', residual='scaled', fused=True).to(DEVICE)
    torch.nn.init.normal_(layer.scale)
    x = torch.randn(2, 16, 20, 24, device=DEVICE, requires_grad=True)
    grad = torch.randn_like(x, requires_grad=False)

    def step():
        out = layer(x)
        return [out.detach(), *torch.autograd.grad(out, [x, *layer.parameters()], grad)]

    stream = torch.cuda.Stream()  # a capture must not hold the compilation
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
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
