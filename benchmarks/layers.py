"""Time and memory of single layers, relative to copying the same map."""

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
from benchmarks.methods import COPY, METHODS, UnavailableError
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
        device: Where they run.
        dtype: Dtype of the maps; parameters stay float32 under autocast, as in training.
        channels_last: Whether maps are in channels_last memory format.
        methods: Names of :data:`METHODS`.
        rounds: Samples per median.
        repeats: Number of medians; the smallest is reported.
    """

    device: torch.device
    dtype: torch.dtype
    channels_last: bool = False
    methods: tuple[str, ...] = tuple(METHODS)
    rounds: int = 15
    repeats: int = 3


@dataclass(frozen=True)
class LayerResult:
    """One layer on one map, in seconds and bytes; None where nothing was measured.

    ``training`` is forward and backward. ``kept`` is what a forward pass saves for backward,
    without its input and output. The peaks are what a pass allocates in addition to its input, the
    parameters and the incoming gradient: they include the output and, in training, all gradients.
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
    """The calls of a layer, one per buffer."""

    forward: Sequence[Call]
    training: Sequence[Call]
    train: Callable[[bool], Any]
    training_forward: Call


def measure_case(case: Case, settings: Settings) -> list[LayerResult]:
    """Measures all layers on one map, interleaved.

    Args:
        case: The map.
        settings: The layers and how to measure them.

    Returns:
        The copy first, then a result for each layer. A layer that is not available on this machine
        or fails has a note instead of figures.
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
        except UnavailableError as reason:
            results[name] = LayerResult(case, name, note=f'not measured: {reason}')
            continue
        # A failure, such as torch.compile without a C++ compiler, must not stop the other layers.
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
    # Time the copy again, so that a ratio compares samples taken at the same time.
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
    """Builds a layer and its calls, and runs each kind once."""
    x = maps[0]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about group counts; a training shows it too
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

    # The buffers of the copies serve as gradients: they hold ordinary numbers.
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
    # A CUDA graph must not capture casts of the weights that were cached in an earlier pass.
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
        kept=kept.kept - forward.kept,  # after inference only the output is left
    )


def _add_times(
    results: dict[str, LayerResult],
    calls: dict[str, Sequence[Call]],
    direction: str,
    settings: Settings,
) -> None:
    """Sets ``forward`` or ``training`` of the results, and on a GPU the host time too."""
    samplers: dict[str, Sampler] = {}
    on_gpu = settings.device.type == 'cuda'
    pool = torch.cuda.graph_pool_handle() if on_gpu else None
    for name, each in calls.items():
        try:
            samplers[name] = cuda_sampler(each, pool) if on_gpu else cpu_sampler(each)
        except RuntimeError as error:  # a layer that cannot be captured in a graph
            note = f'{direction} not measured: {str(error).splitlines()[0]}'
            results[name] = replace(results[name], note=note)
    for name, seconds in best_medians(samplers, settings.rounds, settings.repeats).items():
        results[name] = _with(results[name], direction, seconds)
    if on_gpu and results[COPY].case.buffers == 1:  # with large maps the device is the bottleneck
        hosts = {name: host_sampler(each) for name, each in calls.items() if name in samplers}
        for name, seconds in best_medians(hosts, settings.rounds, settings.repeats).items():
            results[name] = _with(results[name], f'host_{direction}', seconds)


def _with(result: LayerResult, name: str, value: Any) -> LayerResult:
    changes: dict[str, Any] = {name: value}
    return replace(result, **changes)
