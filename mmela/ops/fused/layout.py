"""The two memory formats that the kernels know."""

from __future__ import annotations

import torch
from torch import Tensor


def memory_format(x: Tensor) -> torch.memory_format:
    """The format in which a map is read and its result written.

    A map in neither format, such as a slice, is copied into the one it is nearer to.
    """
    if x.is_contiguous():
        return torch.contiguous_format
    return torch.channels_last if x.stride(1) == 1 else torch.contiguous_format
