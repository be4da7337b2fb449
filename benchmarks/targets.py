"""What the project asks of ELA, beside what was measured. A table to read, not a test."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.layers import LayerResult, Settings
from benchmarks.methods import COPY, SPATIAL
from benchmarks.model import NetworkResult
from benchmarks.shapes import Case
from mmela.attentions.ela import VARIANTS

#: Shared memory of an SM of an H100 or H200: the chip, as the targets mean it.
CHIP_BYTES = 227 * 1024


class Target(NamedTuple):
    """One figure that must not be above its limit.

    Attributes:
        subject: The map or the network.
        what: The figure.
        value: As measured; None where it was not.
        limit: The target.
    """

    subject: str
    what: str
    value: float | None
    limit: float

    @property
    def verdict(self) -> str:
        """Whether the target is met, in words."""
        if self.value is None:
            return 'not measured'
        return 'met' if self.value <= self.limit else 'missed'


def find_targets(results: Sequence[LayerResult], settings: Settings) -> list[Target]:
    """The targets of one map.

    Args:
        results: Of :func:`benchmarks.layers.measure_case`.
        settings: How they were measured.

    Returns:
        None for maps that no target is about.
    """
    case = results[0].case
    on_gpu = settings.device.type == 'cuda'
    if case.group not in _RULES or (case.group == 'cpu') == on_gpu:
        return []
    by_name = {result.method: result for result in results}
    return [
        Target(f'{case.name} ({case.group})', *each)
        for each in _RULES[case.group](case, by_name, settings.dtype.itemsize)
    ]


def network_targets(results: Sequence[NetworkResult], device: torch.device) -> list[Target]:
    """The targets of whole networks.

    Args:
        results: Of :func:`benchmarks.model.measure_network`.
        device: Where they were measured: times are asked for on a GPU alone.
    """
    targets = []
    for result in results:
        step, config = result.passes[0], Path(result.config).stem
        if device.type == 'cuda':
            limit = 1.01 if config.startswith('yolox') else 1.03
            value = None if step.ratio is None else step.ratio.median
            targets.append(Target(config, 'training step, time', value, limit))
        targets.append(Target(config, 'training step, memory to bound', step.memory_to_bound, 1.01))
    return targets


_Figure = tuple[str, float | None, float]
_Results = Mapping[str, LayerResult]


def _for_cpu(case: Case, results: _Results, itemsize: int) -> Iterator[_Figure]:
    first = case.map == (2, 256, 100, 136)
    yield 'forward / timm ELA', _ratio(results, 'forward', 'ELA lean', 'timm ELA'), 0.9
    yield 'forward / plain', _ratio(results, 'forward', 'ELA lean', 'ELA plain'), 1.0
    limit = 0.7 if first else 1.0
    yield 'forward + backward / plain', _ratio(results, 'training', 'ELA lean', 'ELA plain'), limit
    against = _ratio(results, 'training', 'ELA lean', 'timm ELA')
    yield 'forward + backward / timm ELA', against, 1.0
    yield _kept(case, results, 'ELA lean', itemsize)


def _for_large(case: Case, results: _Results, itemsize: int) -> Iterator[_Figure]:
    on_chip = unit_bytes(case, itemsize) <= CHIP_BYTES
    where = 'on chip' if on_chip else 'off chip'
    forward = _ratio(results, 'forward', 'ELA fused', COPY)
    yield f'forward, copies ({where})', forward, 1.25 if on_chip else 1.7
    training = _ratio(results, 'training', 'ELA fused', COPY)
    yield f'forward + backward, copies ({where})', training, 3.2 if on_chip else 4.5
    plain = _ratio(results, 'training', 'ELA fused', 'ELA plain')
    yield 'forward + backward / plain', plain, round(1 / 3, 3)
    compiled = _ratio(results, 'training', 'ELA fused', 'ELA compiled')
    yield 'forward + backward / torch.compile', compiled, 0.8
    for direction, title in (('forward', 'forward'), ('training', 'forward + backward')):
        ratios = [_ratio(results, direction, 'ELA fused', name) for name in SPATIAL]
        known = [ratio for ratio in ratios if ratio is not None]
        yield f'{title} / fastest spatial rival', max(known, default=None), 1.0
    yield _kept(case, results, 'ELA fused', itemsize)


def _for_real(case: Case, results: _Results, itemsize: int) -> Iterator[_Figure]:
    ela, copy = results.get('ELA fused'), results[COPY]
    if ela is None:
        return
    yield 'forward - copy, us', _micro(_less(ela.forward, copy.forward, 1)), 8
    yield 'forward + backward - 3 copies, us', _micro(_less(ela.training, copy.training, 3)), 15
    yield 'host, forward, us', _micro(ela.host_forward), 60
    yield 'host, forward + backward, us', _micro(ela.host_training), 150
    yield _kept(case, results, 'ELA fused', itemsize)


_RULES = {'cpu': _for_cpu, 'large': _for_large, 'real': _for_real}


def _kept(case: Case, results: _Results, name: str, itemsize: int) -> _Figure:
    """What is kept beside the map, in maps: two sets of strips in float32, and no more.

    The tenth on top is for one number a group and axis, and for the rounding of allocators.
    """
    _, _, height, width = case.map
    map_bytes = math.prod(case.map) * itemsize
    kept = results[name].kept if name in results else None
    strips = 2 * 4 * (1 / height + 1 / width) / itemsize
    return 'kept beside x, in maps', None if kept is None else kept / map_bytes, 1.1 * strips


def unit_bytes(case: Case, itemsize: int) -> int:
    """Bytes of the channels of one image that need nothing from the others.

    Args:
        case: The map.
        itemsize: Bytes of an element.
    """
    _, channels, height, width = case.map
    variant = VARIANTS[case.variant]
    group = max(channels // variant.num_groups, 1)
    return math.lcm(variant.channels_per_conv_group, group) * height * width * itemsize


def _ratio(results: _Results, direction: str, name: str, other: str) -> float | None:
    first, second = (getattr(results.get(each), direction, None) for each in (name, other))
    return None if first is None or not second else first / second


def _less(first: float | None, second: float | None, times: int) -> float | None:
    return None if first is None or second is None else first - times * second


def _micro(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e6
