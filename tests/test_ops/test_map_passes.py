"""The passes over a full map in PyTorch: the block size changes neither results nor memory."""

from __future__ import annotations

import pytest
import torch
from ela_layers import FORMATS, SMALL, TOLERANCE, assert_is_the_formula, make_inputs, outcome
from torch.utils._python_dispatch import TorchDispatchMode

from mmela.ops import ela_lean, ela_reference, map_passes

#: Elements of a block: less than a row, rows, some planes, samples.
SIZES = [1, 30, 300, 5000]


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('dtype', TOLERANCE)
def test_blocks_of_any_size_give_the_formula(monkeypatch, size, memory_format, dtype):
    monkeypatch.setattr(map_passes, 'BLOCK', size)
    inputs, grad = make_inputs(
        (3, 8, 14, 12), dtype=dtype, scaled=True, memory_format=memory_format
    )
    for residual in (False, True):
        assert_is_the_formula(ela_lean, inputs, grad, residual=residual)


VIEWS = {
    'channels': lambda t: t.contiguous(memory_format=FORMATS[1])[:, 4:12],
    'columns': lambda t: t[:, ::2, :, 3:20],
    'transposed': lambda t: t[:, :8].transpose(2, 3),
    'expanded': lambda t: t[:1, :8].expand(3, -1, -1, -1),
}


@pytest.mark.parametrize('view', VIEWS)
def test_views_of_other_maps_are_taken(monkeypatch, view):
    monkeypatch.setattr(map_passes, 'BLOCK', 300)
    (x, *_), grad = make_inputs((2, 16, 24, 24))
    (_, *parameters), _ = make_inputs((1, 8, 2, 2))
    assert_is_the_formula(ela_lean, [VIEWS[view](x), *parameters], VIEWS[view](grad))


@pytest.mark.parametrize('memory_format', FORMATS)
def test_the_same_map_gives_the_same_bits(monkeypatch, memory_format):
    monkeypatch.setattr(map_passes, 'BLOCK', 300)
    inputs, grad = make_inputs((3, 8, 14, 12), dtype=torch.float32, memory_format=memory_format)
    results = [outcome(ela_lean, inputs, grad, **SMALL.options) for _ in range(2)]
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)


class Allocations(TorchDispatchMode):
    """The number of elements of each storage that an operation allocates."""

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
@pytest.mark.parametrize('dtype, residual', [(torch.float32, False), (torch.bfloat16, True)])
def test_nothing_of_full_size_is_made_but_the_results(monkeypatch, memory_format, dtype, residual):
    monkeypatch.setattr(map_passes, 'BLOCK', 500)
    inputs, grad = make_inputs((3, 8, 32, 32), dtype=dtype, memory_format=memory_format)
    x, options = inputs[0], dict(SMALL.options, residual=residual)
    leaves = [t.requires_grad_() for t in inputs]
    with torch.no_grad(), Allocations(*leaves) as inference:
        ela_lean(*leaves, **options)
    with Allocations(*leaves, grad) as training:
        out = ela_lean(*leaves, **options)
        torch.autograd.grad(out, leaves, grad)
    # The longest strips of all samples, both axes beside each other: a sixteenth of the map.
    rest = x.numel() // 16
    assert [size for size in inference.sizes if size > rest] == [x.numel()]
    assert [size for size in training.sizes if size > rest] == [x.numel()] * 2


def test_the_count_of_allocations_sees_those_of_the_formula():
    inputs, _ = make_inputs((3, 8, 32, 32))
    with torch.no_grad(), Allocations(*inputs) as formula:
        ela_reference(*inputs, **SMALL.options)
    assert formula.sizes.count(inputs[0].numel()) == 2
