"""Torchvision's NMS on a GPU, where MMCV was built without its CUDA operators.

For ``custom_imports`` of a config, or to be imported before a detector runs. Building MMCV's CUDA
operators takes minutes; both keep the boxes whose IoU with every better one is at most the limit.
"""

from __future__ import annotations

import sys
from typing import Any

import mmcv.ops  # noqa: F401
import torch
from torch import Tensor

_mmcv: Any = sys.modules['mmcv.ops.nms'].ext_module  # `mmcv.ops.nms` is a function of that name
_of_mmcv = _mmcv.nms


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """MMCV's operator, on a GPU by torchvision.

    Args:
        boxes: (N, 4), corners.
        scores: (N,).
        iou_threshold: The largest IoU of two boxes that are kept.
        offset: What is added to a box's right and lower side; 0 on a GPU.

    Returns:
        Indices of the boxes that are kept, best first.
    """
    if not boxes.is_cuda or offset != 0:
        return _of_mmcv(boxes, scores, iou_threshold=iou_threshold, offset=offset)
    from torchvision.ops import nms as of_torchvision

    return of_torchvision(boxes.float(), scores.float(), iou_threshold)


def _has_cuda_operators() -> bool:
    box = torch.zeros(1, 4, device='cuda')
    try:
        _of_mmcv(box, box[:, 0].contiguous(), iou_threshold=0.5, offset=0)
    except RuntimeError:
        return False
    return True


if torch.cuda.is_available() and not _has_cuda_operators():
    _mmcv.nms = nms
