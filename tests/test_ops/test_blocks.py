"""The passes over a full map: any block size gives one result, and none takes a map's room."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmela.ops import blocks, ela_lean, ela_reference

OPTIONS = dict(groups=4, num_groups=8)
FORMATS = [torch.contiguous_format, torch.channels_last]
#: Elements of a block: less than a row, rows, some planes, samples, more than the map.
SIZES = [1, 30, 300, 5000, 2**20]


def make_inputs(dtype=torch.float64, memory_format=torch.contiguous_format, size=(5, 16, 14, 12)):
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(2))
    weight, scale = torch.randn(16, 4, 5, generator=generator), torch.randn(16, generator=generator)
    maps = [t.to(dtype).to(memory_format=memory_format) for t in (x, grad)]
    return maps, [weight.to(dtype), scale.to(dtype) + 1, scale.to(dtype), scale.to(dtype)]


def run(function, maps, parameters, residual=True):
    leaves = [t.detach().clone().requires_grad_() for t in (maps[0], *parameters)]
    out = function(*leaves, residual=residual, **OPTIONS)
    return [out.detach(), *torch.autograd.grad(out, leaves, maps[1])]


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('residual', [False, True])
def test_blocks_of_any_size_give_the_formula(monkeypatch, size, memory_format, residual):
    monkeypatch.setattr(blocks, 'BLOCK', size)
    maps, parameters = make_inputs(memory_format=memory_format)
    expected = run(ela_reference, maps, parameters, residual)
    for ours, exact in zip(run(ela_lean, maps, parameters, residual), expected, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize(
    'dtype, tolerance', [(torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 1e-2)]
)
def test_blocks_keep_the_precision(monkeypatch, size, memory_format, dtype, tolerance):
    monkeypatch.setattr(blocks, 'BLOCK', size)
    maps, parameters = make_inputs(dtype, memory_format)
    expected = run(ela_reference, [t.double() for t in maps], [t.double() for t in parameters])
    for ours, exact in zip(run(ela_lean, maps, parameters), expected, strict=True):
        assert (ours.double() - exact).norm() < tolerance * exact.norm()


@pytest.mark.parametrize('view', ['channels', 'columns', 'transposed', 'expanded'])
def test_views_of_other_maps_are_taken(monkeypatch, view):
    monkeypatch.setattr(blocks, 'BLOCK', 300)
    (x, grad), parameters = make_inputs(size=(2, 32, 24, 24))
    cut = {
        'channels': lambda t: t.to(memory_format=torch.channels_last)[:, 8:24],
        'columns': lambda t: t[:, ::2, :, 3:20],
        'transposed': lambda t: t[:, :16].transpose(2, 3),
        'expanded': lambda t: t[:1, :16].expand(3, -1, -1, -1),
    }[view]
    leaf = x.requires_grad_()
    found = [
        torch.autograd.grad(function(cut(leaf), *parameters, **OPTIONS), leaf, cut(grad))[0]
        for function in (ela_lean, ela_reference)
    ]
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize('memory_format', FORMATS)
def test_the_same_map_gives_the_same_bits(monkeypatch, memory_format):
    monkeypatch.setattr(blocks, 'BLOCK', 300)
    inputs = make_inputs(torch.float32, memory_format)
    for first, second in zip(run(ela_lean, *inputs), run(ela_lean, *inputs), strict=True):
        assert torch.equal(first, second)


class Allocations(TorchDispatchMode):
    """Elements of each storage that an operation has made anew."""

    def __init__(self, *known):
        super().__init__()
        self.known = list(known)
        self.sizes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in [t.untyped_storage().data_ptr() for t in self.known]:
                    self.known.append(tensor)  # kept alive, so that no address comes back
                    self.sizes.append(storage.nbytes() // tensor.element_size())
        return result


@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('residual', [False, True])
def test_nothing_of_full_size_is_made_but_the_results(monkeypatch, memory_format, dtype, residual):
    monkeypatch.setattr(blocks, 'BLOCK', 500)
    (x, grad), parameters = make_inputs(dtype, memory_format, size=(3, 16, 32, 32))
    leaves = [t.requires_grad_() for t in (x, *parameters)]
    with torch.no_grad(), Allocations(*leaves) as inference:
        ela_lean(*leaves, residual=residual, **OPTIONS)
    with Allocations(*leaves, grad) as training:
        out = ela_lean(*leaves, residual=residual, **OPTIONS)
        torch.autograd.grad(out, leaves, grad)
    # The longest strips of all samples, both axes beside each other: a sixteenth of the map.
    rest = x.numel() // 16
    assert [size for size in inference.sizes if size > rest] == [x.numel()]
    assert [size for size in training.sizes if size > rest] == [x.numel()] * 2


def test_the_count_of_allocations_sees_those_of_the_formula():
    (x, _), parameters = make_inputs(size=(3, 16, 32, 32))
    with torch.no_grad(), Allocations(x, *parameters) as formula:
        ela_reference(x, *parameters, **OPTIONS)
    assert formula.sizes.count(x.numel()) == 2
