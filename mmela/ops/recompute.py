"""Outputs of ELA that are computed again in backward instead of kept for it.

The layer itself keeps its input and vectors. But the convolution behind it keeps its own input,
which is a full map more. Under :func:`recompute_outputs` autograd keeps a note in its place: the
input that the layer holds anyway, and how to get from there to the output.
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
    """A tensor that autograd keeps, and its version then."""

    def __init__(self, tensor: Tensor) -> None:
        # Detached: a node that kept its own output with its graph would keep itself, for ever if
        # no backward comes. The version is still that of both.
        self.tensor, self.version = tensor.detach(), tensor._version

    def unpack(self) -> Tensor:
        # Autograd makes this check itself, but not of what goes through hooks.
        if self.tensor._version != self.version:
            raise RuntimeError(
                f'a tensor of shape {tuple(self.tensor.shape)} that is needed for the gradient was '
                'changed in place after the forward pass.'
            )
        return self.tensor


class _Output(NamedTuple):
    """An output of a layer as what it is made of."""

    version: int
    x: _Kept
    parameters: tuple[_Kept, ...]
    compute: Callable[[Tensor], Tensor]

    def unpack(self) -> Tensor:
        for parameter in self.parameters:
            parameter.unpack()  # unchanged since
        with torch.no_grad():
            return self.compute(self.x.unpack())


@contextmanager
def recompute_outputs() -> Iterator[None]:
    """Trades time for memory: operations keep no outputs of ELA for backward.

    What autograd would keep of them inside the block is computed again when backward asks for it,
    with the same numbers to the bit, at the price of one more forward pass of the layer for each
    operation that asks. Everything else is kept as always. It is for eager mode: ``torch.compile``
    plans its memory itself.

    Where a network is trained by MMEngine, ``custom_hooks=[dict(type='mmela.RecomputeHook')]`` in
    its config does the same.

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
        # One that was changed since, by an addition in place, is no output any more.
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
    """Says how an output is made, to whatever :func:`recompute_outputs` is active.

    Args:
        out: The output.
        x: The map that it comes from.
        parameters: What else it comes from.
        compute: The way from a map to its output, differentiable or not.
    """
    outputs = getattr(_active, 'outputs', None)
    if outputs is not None and out.requires_grad:
        kept = tuple(_Kept(parameter) for parameter in parameters)
        outputs[out] = _Output(out._version, _Kept(x), kept, compute)
