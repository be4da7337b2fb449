"""What several processes have to agree on before any of them acts."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from mmengine.dist import all_gather_object, all_reduce, barrier, get_world_size


def highest(value: int) -> int:
    """The highest value among all processes.

    Args:
        value: The value of this process.

    Returns:
        The highest; without other processes, its own.
    """
    if get_world_size() == 1:
        return value
    tensor = torch.tensor(value)
    all_reduce(tensor, op='max')
    return int(tensor)


def first_said(text: str | None) -> str | None:
    """The text of the first process that has one.

    Args:
        text: The text of this process, or None.

    Returns:
        The text, with the number of its process where there are several.
    """
    texts = all_gather_object(text)
    for rank, said in enumerate(texts):
        if said is not None:
            return f'process {rank}: {said}' if len(texts) > 1 else said
    return None


def disconnect() -> None:
    """Wait for all processes, which have agreed to end, and disconnect them.

    A launcher ends the others as soon as one exits, and one that exits while gloo's threads are
    still there is aborted now and then.
    """
    if get_world_size() > 1:
        barrier()
        torch_dist.destroy_process_group()
