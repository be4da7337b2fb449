"""Timing of calls, interleaved so that other load on the machine affects all of them alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

Call = Callable[[], Any]
#: Takes one sample and returns seconds per call.
Sampler = Callable[[], float]
#: Minimum duration of a sample on the CPU.
SAMPLE_SECONDS = 0.02
#: A CUDA graph repeats its calls for about this long, so that its launch is negligible ...
GRAPH_SECONDS = 0.001
#: ... with at most this many calls.
GRAPH_CALLS = 50
#: Calls per sample of the host time; more would fill the launch queue and block the host.
HOST_CALLS = 20


class Interval(NamedTuple):
    """A median with its 95 % confidence interval."""

    median: float
    low: float
    high: float


def cpu_sampler(calls: Sequence[Call], seconds: float = SAMPLE_SECONDS) -> Sampler:
    """Times calls on the CPU.

    Args:
        calls: One per buffer, used in turn.
        seconds: Minimum duration of a sample.
    """
    for call in calls:
        call()
    begun = time.perf_counter()
    for call in calls:
        call()
    once = time.perf_counter() - begun
    rounds = max(1, math.ceil(seconds / max(once, 1e-7)))

    def sample() -> float:
        begun = time.perf_counter()
        for _ in range(rounds):
            for call in calls:
                call()
        return (time.perf_counter() - begun) / (rounds * len(calls))

    return sample


def cuda_sampler(calls: Sequence[Call], pool: Any = None) -> Sampler:
    """Times calls on a GPU: device time of a CUDA graph between two events.

    Args:
        calls: One per buffer, used in turn.
        pool: Memory pool shared by the graphs, from ``torch.cuda.graph_pool_handle()``.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in [*calls, *calls[:2]] * 2:
            call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    once = _replay_time(_capture(calls, pool))
    rounds = max(1, min(math.ceil(GRAPH_SECONDS / once), GRAPH_CALLS // len(calls)))
    repeated = list(calls) * rounds
    graph = _capture(repeated, pool)

    def sample() -> float:
        return _replay_time(graph) / len(repeated)

    return sample


def _capture(calls: Sequence[Call], pool: Any) -> Any:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        for call in calls:
            call()
    graph.replay()  # the first replay uploads the graph
    return graph


def _replay_time(graph: Any) -> float:
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begun.record()
    graph.replay()
    ended.record()
    ended.synchronize()
    return max(float(begun.elapsed_time(ended)) / 1000, 1e-9)


def host_sampler(calls: Sequence[Call]) -> Sampler:
    """Times the host while it launches calls on a GPU, without a graph.

    Args:
        calls: Used in turn.
    """
    for call in calls:
        call()

    def sample() -> float:
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for index in range(HOST_CALLS):
            calls[index % len(calls)]()
        lasted = time.perf_counter() - begun
        torch.cuda.synchronize()
        return lasted / HOST_CALLS

    return sample


def interleave(samplers: Mapping[str, Sampler], rounds: int) -> dict[str, list[float]]:
    """Takes samples in turn; each round starts with the next sampler.

    Args:
        samplers: Samplers by name.
        rounds: Samples per sampler.

    Returns:
        Samples in seconds, by name.
    """
    names = list(samplers)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for index in range(rounds):
        first = index % max(len(names), 1)
        for name in names[first:] + names[:first]:
            samples[name].append(samplers[name]())
    return samples


def best_medians(samplers: Mapping[str, Sampler], rounds: int, repeats: int) -> dict[str, float]:
    """The smallest of several medians of interleaved samples.

    Args:
        samplers: Samplers by name.
        rounds: Samples per median.
        repeats: Number of medians.

    Returns:
        Seconds by name.
    """
    medians = [
        {name: statistics.median(values) for name, values in interleave(samplers, rounds).items()}
        for _ in range(repeats)
    ]
    return {name: min(each[name] for each in medians) for name in samplers}


def time_pairs(first: Call, second: Call, device: torch.device, pairs: int) -> list[list[float]]:
    """Times two calls in pairs and swaps their order in every other pair.

    Args:
        first: A call.
        second: Another call.
        device: Where they run; each call is timed until the device has finished.
        pairs: Number of pairs.

    Returns:
        [seconds of the first call, seconds of the second] per pair.
    """
    calls = (first, second)
    times = []
    for index in range(pairs):
        pair = [0.0, 0.0]
        for place in (0, 1) if index % 2 == 0 else (1, 0):
            _finish(device)
            begun = time.perf_counter()
            calls[place]()
            _finish(device)
            pair[place] = time.perf_counter() - begun
        times.append(pair)
    return times


def _finish(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def median_interval(values: Sequence[float]) -> Interval:
    """A median with its 95 % interval by ranks, which supposes nothing about the distribution.

    The interval leaves out as many of the smallest and of the largest values as keeps 95 % by the
    binomial distribution; of fewer than six values it is the whole range, which covers less.

    Args:
        values: One or more, such as the ratios of pairs.
    """
    ordered = sorted(values)
    count = len(ordered)
    dropped, tail = 0, 1  # `tail`: ways, of 2 ** count, to have at most `dropped` below the median
    while tail / 2**count <= 0.025:
        dropped += 1
        tail += math.comb(count, dropped)
    # The binomial tail below rank `dropped` is within 2.5 %: that rank itself belongs to it.
    first = max(dropped - 1, 0)
    return Interval(statistics.median(ordered), ordered[first], ordered[count - 1 - first])
