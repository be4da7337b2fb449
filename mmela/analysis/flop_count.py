"""Parameters and multiply-adds of a network or a layer, counted by MMEngine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from mmengine.analysis import FlopAnalyzer
from torch import Tensor, nn

from mmela.errors import UserError

#: Operators that MMEngine counts as nothing. They are most of an attention's work, so they are
#: counted beside the FLOPs: pooling per element of its input, as MMEngine counts
#: ``adaptive_avg_pool2d``, and elementwise operators per element of their output.
_POOLING = ('mean', 'sum', 'amax', 'max', 'adaptive_max_pool2d')
_ELEMENTWISE = (
    *('add', 'sub', 'mul', 'div', 'sigmoid', 'tanh', 'softmax'),
    *('relu', 'relu6', 'hardtanh', 'hardsigmoid', 'hardswish', 'silu', 'gelu'),
)


class Count(NamedTuple):
    """The counts of one network or layer."""

    params: int
    flops: int  #: multiply-adds by MMEngine's rules
    pooling: int  #: elements pooled by operators that ``flops`` leaves out
    elementwise: int  #: output elements of elementwise operators
    unknown: Counter[str]  #: operators in none of these, and how often they run


def count(module: nn.Module, x: Tensor) -> Count:
    """Traces a forward pass of any module on the CPU.

    Args:
        module: A network or layer in eval mode.
        x: Its input; the values do not matter.
    """
    analyzer = FlopAnalyzer(module, x)
    for op in _POOLING:
        analyzer.set_op_handle(f'aten::{op}', _elements('pooling', of_input=True))
    for op in _ELEMENTWISE:
        handle = _elements('elementwise', of_input=False)
        analyzer.set_op_handle(f'aten::{op}', handle, f'aten::{op}_', handle)
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analyzer.tracer_warnings('none')
    with torch.no_grad():
        operators = Counter(analyzer.by_operator())
    pooling, elementwise = operators.pop('pooling', 0), operators.pop('elementwise', 0)
    return Count(
        params=sum(parameter.numel() for parameter in module.parameters()),
        flops=int(sum(operators.values())),
        pooling=pooling,
        elementwise=elementwise,
        unknown=analyzer.unsupported_ops(),
    )


def _elements(name: str, of_input: bool) -> Callable[[list, list], Counter[str]]:
    """A handle for MMEngine's analyzer that counts an operator's input or output elements."""

    def handle(inputs: list, outputs: list) -> Counter[str]:
        value = (inputs if of_input else outputs)[0]
        sizes = value.type().sizes() if value.isCompleteTensor() else []
        # A single number is arithmetic on sizes, which a trace records too.
        return Counter({name: math.prod(sizes) if sizes else 0})

    return handle


def count_network(model: nn.Module, shape: tuple[int, int], scope: str) -> Count:
    """Traces a forward pass of one image in mode ``'tensor'`` on the CPU.

    Args:
        model: A network of a toolbox in eval mode.
        shape: Height and width of the image.
        scope: The toolbox, such as ``'mmdet'``.

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
            'most networks need multiples of 32: --shape H W.'
        ) from error


def _prepare_detector(model: nn.Module, shape: tuple[int, int]) -> None:
    """Gives a detector what its forward pass needs beside the image."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    shapes = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), shape)
    sample = DetDataSample(metainfo=dict(**shapes, scale_factor=(1.0, 1.0)))
    model.forward = partial(model.forward, data_samples=[sample])
    if not getattr(model, 'with_rpn', False) or not hasattr(model, 'roi_head'):
        return
    # How many proposals survive NMS depends on the weights, which are random here, and would
    # differ between baseline and attention. MMEngine counts what is replaced as nothing.
    number = model.rpn_head.test_cfg['max_per_img']
    boxes = torch.tensor([[0.0, 0.0, 32.0, 32.0]]).repeat(number, 1)

    def predict_by_feat(*outputs: Any, **kwargs: Any) -> list[InstanceData]:
        # A trace drops what no output depends on, which would be the RPN.
        used = sum(0 * level.flatten()[0] for levels in outputs if levels for level in levels)
        return [InstanceData(bboxes=boxes + used)]

    model.rpn_head.predict_by_feat = predict_by_feat
