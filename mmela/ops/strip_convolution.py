"""The convolution of strips on a CPU, where PyTorch's own is slow for one channel a group.

Depthwise, its gradient with respect to the weight costs several times all the rest of the gate, and
where a strip is shorter than the kernel (the last stages of a classifier on small images) forward
and backward take milliseconds for a few thousand numbers. Both are mended by what the convolution
is: taps that only ever meet the padding are left out, and the gradient of a tap is one sum.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmela.ops.reference import without_autocast


def convolve(z: Tensor, weight: Tensor, *, padding: int, groups: int) -> Tensor:
    """``torch.nn.functional.conv1d`` of strips, differentiable once.

    Args:
        z: Strips of shape (N, C, L).
        weight: Shape (C, C // groups, k) with k odd, dtype of ``z``.
        padding: k // 2.
        groups: Of the convolution.

    Returns:
        The strips, convolved: shape (N, C, L), up to rounding those of PyTorch.
    """
    if z.device.type != 'cpu' or 0 in z.shape:
        return F.conv1d(z, weight, padding=padding, groups=groups)
    reach = min(padding, z.size(2) - 1)
    taps = weight.narrow(2, padding - reach, 2 * reach + 1)
    if groups == z.size(1):
        return _Depthwise.apply(z, taps)
    return F.conv1d(z, taps, padding=reach, groups=groups)


class _Depthwise(torch.autograd.Function):
    """One channel a group; ``weight`` of shape (C, 1, 2 * reach + 1)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(z, weight)
        return F.conv1d(z, weight, padding=weight.size(2) // 2, groups=z.size(1))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        z, weight = ctx.saved_tensors
        length, reach = z.size(2), weight.size(2) // 2
        grad_z = grad_weight = None
        with without_autocast(z):
            if ctx.needs_input_grad[0]:
                grad_z = F.conv1d(grad, weight.flip(2), padding=reach, groups=z.size(1))
            if ctx.needs_input_grad[1]:
                grad_weight = torch.empty_like(weight)
                for tap in range(-reach, reach + 1):
                    inputs = z[..., max(tap, 0) : length + min(tap, 0)]
                    outputs = grad[..., max(-tap, 0) : length + min(-tap, 0)]
                    torch.sum(inputs * outputs, (0, 2), out=grad_weight[:, 0, reach + tap])
        return grad_z, grad_weight
