"""Multiply-adds and parameters of a network or a layer, counted by MMEngine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from mmengine.analysis import FlopAnalyzer
from torch import Tensor, nn

from mmela.analysis.quick_convolution import OP_HANDLES, quick_convolutions
from mmela.errors import UserError

#: What MMEngine counts as nothing, wherever it stands. For an attention it is most of the work,
#: so it is tallied beside the FLOPs: pooling per element that goes in, which is how MMEngine counts
#: ``adaptive_avg_pool2d``, and the rest per element that comes out.
_POOLING = ('mean', 'sum', 'amax', 'max', 'adaptive_max_pool2d')
_ELEMENTWISE = (
    *('add', 'sub', 'mul', 'div', 'sigmoid', 'tanh', 'softmax'),
    *('relu', 'relu6', 'hardtanh', 'hardsigmoid', 'hardswish', 'silu', 'gelu'),
)


class Count(NamedTuple):
    """What was counted in one network or layer."""

    params: int
    flops: int  #: multiply-adds by MMEngine's rules
    pooling: int  #: elements that are pooled by operators which ``flops`` leave out
    elementwise: int  #: elements that come out of elementwise operators
    unknown: Counter[str]  #: operators in none of these, and how often they run


def count_network(model: nn.Module, shape: tuple[int, int], scope: str) -> Count:
    """Traces a forward pass of one image in mode ``'tensor'`` on the CPU.

    Args:
        model: A network of a toolbox in test mode.
        shape: Height and width of the image.
        scope: Which toolbox, such as ``'mmdet'``.

    Returns:
        The counts.

    Raises:
        UserError: If the network cannot run at that size.
    """
    if scope == 'mmdet':
        _prepare_detector(model, shape)
    try:
        return count(model, torch.zeros(1, 3, *shape))
    except RuntimeError as error:
        if all(side % 32 == 0 for side in shape):
            raise
        raise UserError(
            f'the network cannot run on an input of {shape[0]} x {shape[1]} (height x width); '
            'most need sides that 32 divides.'
        ) from error


def count(module: nn.Module, x: Tensor) -> Count:
    """Traces a forward pass of any module on the CPU.

    Args:
        module: A network or layer in eval mode.
        x: Its input; the values do not matter.

    Returns:
        The counts.
    """
    analyzer = FlopAnalyzer(module, x)
    analyzer.set_op_handle(**OP_HANDLES)
    for op in _POOLING:
        analyzer.set_op_handle(f'aten::{op}', _tally('pooling', of='input'))
    for op in _ELEMENTWISE:
        handle = _tally('elementwise', of='output')
        analyzer.set_op_handle(f'aten::{op}', handle, f'aten::{op}_', handle)
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analyzer.tracer_warnings('none')
    with torch.no_grad(), quick_convolutions():
        operators = Counter(analyzer.by_operator())
    pooling, elementwise = operators.pop('pooling', 0), operators.pop('elementwise', 0)
    return Count(
        params=sum(parameter.numel() for parameter in module.parameters()),
        flops=int(sum(operators.values())),
        pooling=pooling,
        elementwise=elementwise,
        unknown=analyzer.unsupported_ops(),
    )


def _tally(name: str, of: str) -> Callable[[list, list], Counter[str]]:
    """A handle for MMEngine's counter: elements that go into an operator, or come out of it."""

    def handle(inputs: list, outputs: list) -> Counter[str]:
        value = (inputs if of == 'input' else outputs)[0]
        sizes = value.type().sizes() if value.isCompleteTensor() else []
        # A single number is the arithmetic of sizes, which a trace records too.
        return Counter({name: math.prod(sizes) if sizes else 0})

    return handle


def _prepare_detector(model: nn.Module, shape: tuple[int, int]) -> None:
    """Gives a detector what its forward pass needs beside the image."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    sample = DetDataSample(
        metainfo=dict(
            **dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), shape),
            scale_factor=(1.0, 1.0),
        )
    )
    model.forward = partial(model.forward, data_samples=[sample])
    if not getattr(model, 'with_rpn', False) or not hasattr(model, 'roi_head'):
        return
    # How many proposals survive NMS depends on the weights, here on chance, and would differ
    # between baseline and attention. What is replaced counts as nothing in MMEngine.
    number = model.rpn_head.test_cfg['max_per_img']
    boxes = torch.tensor([[0.0, 0.0, 32.0, 32.0]]).repeat(number, 1)

    def predict_by_feat(*outputs: Any, **kwargs: Any) -> list[InstanceData]:
        # A trace drops whatever nothing depends on, and so would drop the RPN.
        used = sum(0 * level.flatten()[0] for levels in outputs if levels for level in levels)
        return [InstanceData(bboxes=boxes + used)]

    model.rpn_head.predict_by_feat = predict_by_feat
