"""Memory that a call allocates."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile


class Memory(NamedTuple):
    """Bytes that a call allocated, on top of those allocated before it.

    Attributes:
        peak: Maximum during the call.
        kept: At its end, including its result and what the result keeps alive.
    """

    peak: int
    kept: int


def measure_memory(call: Callable[[], Any], device: torch.device) -> Memory:
    """Measures the memory of one call, as PyTorch's allocator counts it.

    On CUDA the allocator has its own counters. On the CPU the profiler records every allocation
    and release, including temporaries inside operators, backward and compiled code. Scratch memory
    that a library such as oneDNN or MKL allocates itself is in neither figure. The CUDA allocator
    rounds up to 512 bytes, the CPU's does not.

    Args:
        call: Called before, so that one-off allocations are not counted.
        device: Where it runs.
    """
    if device.type == 'cuda':
        return _on_cuda(call, device)
    return _on_cpu(call)


def _on_cuda(call: Callable[[], Any], device: torch.device) -> Memory:
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    result = call()
    torch.cuda.synchronize(device)
    memory = Memory(
        torch.cuda.max_memory_allocated(device) - before,
        torch.cuda.memory_allocated(device) - before,
    )
    del result
    return memory


def _on_cpu(call: Callable[[], Any]) -> Memory:
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # or the profiler logs every start to stderr
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = call()
    with TemporaryDirectory() as folder:
        trace = Path(folder, 'trace.json')
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())['traceEvents']
    del result
    events = [event for event in events if event['name'] == '[memory]']
    held: dict[int, int] = {}
    peak = now = 0
    for event in sorted(events, key=lambda each: each['ts']):
        address, change = event['args']['Addr'], event['args']['Bytes']
        if change > 0:
            held[address] = change
        else:  # memory from before the call does not count when it is released
            change = -held.pop(address, 0)
        now += change
        peak = max(peak, now)
    return Memory(peak, now)


def tensor_bytes(value: Any) -> int:
    """Bytes of the tensors in nested lists, tuples and dicts."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return 0
    return sum(map(tensor_bytes, value))
