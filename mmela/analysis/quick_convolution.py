"""Convolutions that a trace records and nobody computes.

Counting a network takes a traced forward pass, and convolutions are most of its time though only
their shapes are asked for. Inside :func:`quick_convolutions` they return zeros of the right shape,
through an operator that a trace records, and drops where nothing depends on it, as it does
``aten::_convolution``. All other operators run. (On the meta device nothing would be computed, but
it cannot be traced: sizes are tensors in a trace, and PyTorch's meta convolution refuses those.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.analysis.jit_handles import conv_flop_count, get_shape
from torch import Tensor
from torch.overrides import TorchFunctionMode

_LIBRARY = torch.library.Library('mmela_count', 'FRAGMENT')
_LIBRARY.define('convolution(Tensor x, Tensor weight, int[] shape) -> Tensor')
_LIBRARY.impl('convolution', lambda x, weight, shape: x.new_zeros(shape), 'CPU')


def _count(inputs: list, outputs: list) -> Counter[str]:
    shapes = (get_shape(value) for value in (*inputs[:2], outputs[0]))
    return Counter({'conv': conv_flop_count(*shapes)})


#: What MMEngine's counters need to know, for ``set_op_handle``.
OP_HANDLES: Mapping[str, Callable[[list, list], Counter[str]]] = {
    'mmela_count::convolution': _count
}


class quick_convolutions(TorchFunctionMode):  # used as `with quick_convolutions():`
    """A context in which ``conv1d`` and ``conv2d`` return zeros; for the CPU, without gradients."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by PyTorch in place of each of its functions."""
        kwargs = kwargs or {}
        quick = _quick(*args, **kwargs) if func in (torch.conv1d, torch.conv2d) else None
        return func(*args, **kwargs) if quick is None else quick


def _quick(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    """The zeros; None where the shape is better left to PyTorch."""
    axes = weight.dim() - 2
    if isinstance(padding, str) or input.dim() != weight.dim():
        return None
    shape = [int(input.size(0)), int(weight.size(0))]
    steps = (_each_axis(value, axes) for value in (stride, padding, dilation))
    for axis, (s, p, d) in enumerate(zip(*steps, strict=True), start=2):
        reach = d * (int(weight.size(axis)) - 1)
        shape.append((int(input.size(axis)) + 2 * p - reach - 1) // s + 1)
    return torch.ops.mmela_count.convolution(input, weight, shape)


def _each_axis(value: Any, axes: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return values * axes if len(values) == 1 else values
