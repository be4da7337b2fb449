"""How much memory a call takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class Memory(NamedTuple):
    """Bytes that a call allocated, beyond those that were there before it.

    Attributes:
        peak: At most at any time.
        kept: At its end, its result and whatever the result keeps alive included.
    """

    peak: int
    kept: int


def measure_memory(call: Callable[[], Any], device: torch.device) -> Memory:
    """Memory of one call, by the account of PyTorch's own allocators.

    On CUDA they keep that account themselves. On the CPU the profiler records what the allocator
    hands out and takes back, byte by byte: temporaries inside operators, in backward and in
    compiled code included. What a library allocates past PyTorch (scratch of oneDNN or MKL, the
    program itself) is in neither figure. The GPU's allocator rounds up to 512 bytes, the CPU's
    does not.

    Args:
        call: Warmed up before, so that what is allocated once is not counted.
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
    # Without it the profiler reports each of its starts on stderr.
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')
    from torch._C._profiler import _EventType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = call()
    events = list(profiler.profiler.kineto_results.experimental_event_tree())
    changes = []
    while events:
        event = events.pop()
        events.extend(event.children)
        if event.tag == _EventType.Allocation:
            fields = event.extra_fields
            changes.append((event.start_time_ns, fields.ptr, fields.alloc_size))
    del result
    held: dict[int, int] = {}
    peak = now = 0
    for _, pointer, change in sorted(changes, key=lambda each: each[0]):
        if change > 0:
            held[pointer] = change
        else:  # what was there before the call has no part in it, when it is released too
            change = -held.pop(pointer, 0)
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
