"""Time and memory of single layers beside a copy of the same map."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.memory import Memory, measure_memory
from benchmarks.methods import COPY, METHODS, NotHereError
from benchmarks.shapes import Case
from benchmarks.timing import (
    Call,
    Sampler,
    best_medians,
    cpu_sampler,
    cuda_sampler,
    host_sampler,
)


@dataclass(frozen=True)
class Settings:
    """How layers are measured.

    Attributes:
        device: Where.
        dtype: Of the maps; parameters stay float32 under autocast, as in training.
        channels_last: The memory format.
        methods: Names of :data:`METHODS`.
        rounds: Samples for a median.
        repeats: Medians, of which the smallest counts.
    """

    device: torch.device
    dtype: torch.dtype
    channels_last: bool = False
    methods: tuple[str, ...] = tuple(METHODS)
    rounds: int = 15
    repeats: int = 3


@dataclass(frozen=True)
class LayerResult:
    """One layer on one map: seconds and bytes; None where it was not measured.

    ``training`` is forward and backward. ``kept`` are the bytes that a forward pass leaves for
    backward beside its input, its output not counted. The peaks are what a pass allocates beyond
    its input, the parameters and the gradient that comes in: the output and, in training, all
    gradients are in them.
    """

    case: Case
    method: str
    forward: float | None = None
    training: float | None = None
    host_forward: float | None = None
    host_training: float | None = None
    forward_peak: int | None = None
    training_peak: int | None = None
    kept: int | None = None
    note: str = ''


@dataclass
class _Layer:
    """A layer with its buffers, as calls."""

    forward: Sequence[Call]
    training: Sequence[Call]
    train: Callable[[bool], Any]
    training_forward: Call


def measure_case(case: Case, settings: Settings) -> list[LayerResult]:
    """Measures all layers on one map, in turn.

    Args:
        case: The map.
        settings: How.

    Returns:
        The copy first, then a result for each layer; one that cannot be had on this machine, or
        that fails, has a note in place of figures.
    """
    maps = [_map(case, settings) for _ in range(case.buffers)]
    targets = [x.detach().clone() for x in maps]
    copies = [partial(y.copy_, x.detach()) for x, y in zip(maps, targets, strict=True)]
    layers: dict[str, _Layer] = {}
    results = {COPY: LayerResult(case, COPY)}
    for name in settings.methods:
        try:
            layers[name] = _prepare(name, case, settings, maps, targets)
            memory = _memory(layers[name], maps[0], settings.device)
        except NotHereError as reason:
            results[name] = LayerResult(case, name, note=f'not measured: {reason}')
            continue
        # One that fails, such as a compiler without a C++ compiler, must not take the others along.
        except Exception as error:
            layers.pop(name, None)
            first = (str(error).strip() or '-').splitlines()[0]
            note = f'not measured: {type(error).__name__}: {first}'
            results[name] = LayerResult(case, name, note=note)
            continue
        results[name] = LayerResult(case, name, **memory)

    for layer in layers.values():
        layer.train(False)
    forward: dict[str, Sequence[Call]] = {
        COPY: copies,
        **{name: layer.forward for name, layer in layers.items()},
    }
    _add_times(results, forward, 'forward', settings)
    for layer in layers.values():
        layer.train(True)
    # The copy once more, so that both ratios are of one stretch of time.
    training: dict[str, Sequence[Call]] = {
        COPY: copies,
        **{name: layer.training for name, layer in layers.items()},
    }
    _add_times(results, training, 'training', settings)
    return list(results.values())


def _map(case: Case, settings: Settings) -> Tensor:
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    x = torch.randn(case.map, device=settings.device).to(settings.dtype)
    return x.contiguous(memory_format=layout).requires_grad_()


def _prepare(
    name: str, case: Case, settings: Settings, maps: Sequence[Tensor], grads: Sequence[Tensor]
) -> _Layer:
    """Builds a layer and its calls, and makes each once."""
    x = maps[0]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # a group count that does not divide: seen in training
        layer: nn.Module = METHODS[name](x, case.variant).to(settings.device)
    parameters = [p for p in layer.parameters() if p.requires_grad]

    def run(x: Tensor) -> Any:
        with _autocast(settings):
            return layer(x)

    def infer(x: Tensor) -> Any:
        with torch.no_grad():
            return run(x)

    def step(x: Tensor, grad: Tensor) -> Any:
        return torch.autograd.grad(run(x), (x, *parameters), grad)

    # They are the buffers of the copies too, with ordinary numbers in them.
    dtype = infer(x).dtype
    grads = [grad.to(dtype) for grad in grads]
    prepared = _Layer(
        forward=[partial(infer, x) for x in maps],
        training=[partial(step, x, grad) for x, grad in zip(maps, grads, strict=True)],
        train=layer.train,
        training_forward=partial(run, x),
    )
    prepared.train(False)
    prepared.forward[0]()
    prepared.train(True)
    prepared.training[0]()
    return prepared


def _autocast(settings: Settings) -> AbstractContextManager[Any]:
    if settings.dtype == torch.float32:
        return nullcontext()
    # Cached casts of weights belong to one pass, and a graph must not hold those of another.
    return torch.autocast(settings.device.type, settings.dtype, cache_enabled=False)


def _memory(layer: _Layer, x: Tensor, device: torch.device) -> dict[str, Any]:
    layer.train(False)
    forward = measure_memory(layer.forward[0], device)
    layer.train(True)
    kept = measure_memory(layer.training_forward, device)
    training: Memory = measure_memory(layer.training[0], device)
    return dict(
        forward_peak=forward.peak,
        training_peak=training.peak,
        kept=kept.kept - forward.kept,  # what is left of inference is the output
    )


def _add_times(
    results: dict[str, LayerResult],
    calls: dict[str, Sequence[Call]],
    direction: str,
    settings: Settings,
) -> None:
    """Sets ``forward`` or ``training`` of the results, and the host's time on a GPU."""
    samplers: dict[str, Sampler] = {}
    on_gpu = settings.device.type == 'cuda'
    pool = torch.cuda.graph_pool_handle() if on_gpu else None
    for name, each in calls.items():
        try:
            samplers[name] = cuda_sampler(each, pool) if on_gpu else cpu_sampler(each)
        except RuntimeError as error:  # a layer that a graph cannot hold
            note = f'{direction} not measured: {str(error).splitlines()[0]}'
            results[name] = replace(results[name], note=note)
    for name, seconds in best_medians(samplers, settings.rounds, settings.repeats).items():
        results[name] = _with(results[name], direction, seconds)
    if on_gpu and results[COPY].case.buffers == 1:  # large maps keep the device busy anyway
        hosts = {name: host_sampler(each) for name, each in calls.items() if name in samplers}
        for name, seconds in best_medians(hosts, settings.rounds, settings.repeats).items():
            results[name] = _with(results[name], f'host_{direction}', seconds)


def _with(result: LayerResult, name: str, value: Any) -> LayerResult:
    changes: dict[str, Any] = {name: value}
    return replace(result, **changes)
