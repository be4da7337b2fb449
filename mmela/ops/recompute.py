"""Recompute outputs of ELA in backward instead of keeping them.

The layer itself keeps its input and vectors. But the convolution behind it keeps the output of the
layer, another full map. Under :func:`recompute_outputs` autograd keeps a recipe instead: the input,
which the layer keeps anyway, and how to compute the output from it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

_active = threading.local()


class _Kept:
    """A tensor that autograd keeps, with its version at that time."""

    def __init__(self, tensor: Tensor) -> None:
        # Detached: a node that kept its own output with its graph would keep itself alive, forever
        # without a backward. Both share one version counter.
        self.tensor, self.version = tensor.detach(), tensor._version

    def unpack(self) -> Tensor:
        # Autograd makes this check too, but not for tensors that go through hooks.
        if self.tensor._version != self.version:
            raise RuntimeError(
                f'a tensor of shape {tuple(self.tensor.shape)} that is needed for the gradient was '
                'changed in place after the forward pass.'
            )
        return self.tensor


class _Output(NamedTuple):
    """An output of a layer, as the recipe for it."""

    version: int
    x: _Kept
    parameters: tuple[_Kept, ...]
    compute: Callable[[Tensor], Tensor]

    def unpack(self) -> Tensor:
        for parameter in self.parameters:
            parameter.unpack()  # raises if it was changed
        with torch.no_grad():
            return self.compute(self.x.unpack())


@contextmanager
def recompute_outputs() -> Iterator[None]:
    """Trades time for memory: outputs of ELA are not kept for backward.

    Outputs that autograd would keep inside the block are recomputed when backward needs them, bit
    for bit the same, at the cost of one forward pass of the layer for each operation that needs
    them. Everything else is kept as usual. It works in eager mode; ``torch.compile`` plans its own
    memory.

    In a config of MMEngine, ``custom_hooks=[dict(type='mmela.RecomputeHook')]`` does the same.

    Examples:
        >>> import torch
        >>> from mmela import ELA
        >>> network = torch.nn.Sequential(ELA(8), torch.nn.Conv2d(8, 8, 1))
        >>> with recompute_outputs():
        ...     loss = network(torch.rand(2, 8, 16, 16)).sum()
        >>> loss.backward()
    """
    before = getattr(_active, 'outputs', None)
    outputs = WeakIdKeyDictionary()

    def pack(tensor: Tensor) -> Any:
        output = outputs.get(tensor)
        # An output that was changed in place since can no longer be recomputed.
        if output is not None and output.version == tensor._version:
            return output
        return _Kept(tensor)

    _active.outputs = outputs
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.unpack()):
            yield
    finally:
        _active.outputs = before


def note_output(
    out: Tensor, x: Tensor, parameters: Iterable[Tensor], compute: Callable[[Tensor], Tensor]
) -> None:
    """Registers how an output is computed, if :func:`recompute_outputs` is active.

    Args:
        out: The output.
        x: The map that it is computed from.
        parameters: The other tensors that it is computed from.
        compute: Computes the output from the map.
    """
    outputs = getattr(_active, 'outputs', None)
    if outputs is not None and out.requires_grad:
        kept = tuple(_Kept(parameter) for parameter in parameters)
        outputs[out] = _Output(out._version, _Kept(x), kept, compute)
