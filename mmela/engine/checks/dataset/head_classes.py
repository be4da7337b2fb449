"""Compares ``num_classes`` of every head with the classes of the data."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config

from mmela.engine.checks.dataset.data_sets import DataSet, class_of
from mmela.engine.checks.dataset.findings import Finding, listed_with_count

#: Classes whose ``num_classes`` is another number: what MMDetection's NumClassCheckHook leaves out,
#: the head of STDC, which finds edges, that of SAN, which adds the background itself, and that of
#: Grounding DINO, which counts words.
_OTHER_NUMBER = ('FusedSemanticHead', 'STDCHead', 'SideAdapterCLIPHead', 'GroundingDINOHead')


class _Head(NamedTuple):
    key: str
    type: str
    num_classes: int


def check_head_classes(cfg: Config, datasets: Sequence[DataSet]) -> Iterator[Finding]:
    """Checks that each head has as many classes as the data.

    MMPreTrain's heads are compared with the class folders, see
    :func:`mmela.engine.checks.classification.check_class_folders`.

    Args:
        cfg: The config; its toolbox has to be importable.
        datasets: Its data sets.

    Yields:
        Faults with both numbers and every key to change.
    """
    scope = cfg.get('default_scope')
    named = [d for d in datasets if d.classes is not None and d.reader]
    if scope not in ('mmdet', 'mmseg') or not named:
        return
    dataset = named[0]
    number = len(dataset.classes or ())
    heads = list(_heads(cfg.get('model'), 'model', scope))
    odd = [head for head in heads if head.num_classes != number]
    if odd:
        switches = ' '.join(f'{head.key}={number}' for head in odd)
        wrong = listed_with_count([f'{h.key} of {h.type} is {h.num_classes}' for h in odd], shown=8)
        owner = '' if dataset.named_classes is not None else ', the names of its type,'
        names = listed_with_count([repr(name) for name in dataset.classes or ()])
        yield Finding(
            'model',
            f'{dataset.key} has {number} classes{owner} ({names}), and {wrong}: --cfg-options '
            f'{switches}, or name other classes in metainfo.classes of every dataset.',
        )


def _heads(node: Any, key: str, scope: str) -> Iterator[_Head]:
    """Every head below a config node, lists of heads included."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _heads(item, f'{key}.{index}', scope)
    if not isinstance(node, dict):
        return
    scope = node.get('_scope_') or scope
    name = key.rstrip('.0123456789').rpartition('.')[2]
    if name.endswith('rpn_head') or name == 'backbone' or 'loss' in name:
        return
    if 'type' in node and name.endswith('head'):
        cls = class_of(node['type'], scope, 'MODELS')
        number = _num_classes(node, cls)
        bases = {base.__name__ for base in cls.__mro__} if cls else set()
        if isinstance(number, int) and not bases & {*_OTHER_NUMBER}:
            yield _Head(f'{key}.num_classes', cls.__name__ if cls else '', number)
    for child, value in node.items():
        yield from _heads(value, f'{key}.{child}', scope)


def _num_classes(node: dict, cls: type | None) -> Any:
    """``num_classes`` of a head: from the config, or the default of its class."""
    if 'num_classes' in node or cls is None:
        return node.get('num_classes')
    for base in cls.__mro__:
        parameters = inspect.signature(vars(base).get('__init__', object)).parameters
        if 'num_classes' in parameters:
            return parameters['num_classes'].default
    return None
