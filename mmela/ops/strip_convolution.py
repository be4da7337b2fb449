"""The convolution of strips on a CPU, where PyTorch's own is slow for short strips.

Depthwise, its gradient with respect to the weight costs several times all the rest of the gate, and
where a strip is shorter than the kernel (the last stages of a classifier on small images) forward
and backward take milliseconds for a few thousand numbers. Both are mended by what the convolution
is: taps that only ever meet the padding are left out, and the gradient of a tap is one sum. The
strips of both axes are convolved in one call, since on small maps calls are what it costs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmela.ops.reference import without_autocast


def convolve(z: Tensor, weight: Tensor, *, groups: int) -> Tensor:
    """``torch.nn.functional.conv1d`` of strips, differentiable once.

    Args:
        z: Strips of shape (N, C, L).
        weight: Shape (C, C // groups, k) with k odd, dtype of ``z``; padded by k // 2.
        groups: Of the convolution.

    Returns:
        The strips, convolved: shape (N, C, L), up to rounding those of PyTorch.
    """
    return _convolve(z, weight, z.size(2) - 1, groups)


def convolve_both(
    z_h: Tensor, z_w: Tensor, weight: Tensor, *, groups: int
) -> tuple[Tensor, Tensor]:
    """As :func:`convolve` for strips of two lengths, (N, C, H) and (N, C, W), in one call."""
    height, width = z_h.size(2), z_w.size(2)
    farthest = max(height, width) - 1
    gap = min(weight.size(2) // 2, farthest)  # of zeros, which is what padding is
    z = torch.cat([z_h, z_h.new_zeros(*z_h.shape[:2], gap), z_w], 2)
    u_h, _, u_w = _convolve(z, weight, farthest, groups).split([height, gap, width], 2)
    return u_h, u_w


def _convolve(z: Tensor, weight: Tensor, farthest: int, groups: int) -> Tensor:
    """Convolves strips in which no two places that are not zero are farther apart than that."""
    padding = weight.size(2) // 2
    if z.device.type != 'cpu' or 0 in z.shape:
        return F.conv1d(z, weight, padding=padding, groups=groups)
    reach = min(padding, farthest)
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
        reach = weight.size(2) // 2
        grad_z = grad_weight = None
        with without_autocast(z):
            if ctx.needs_input_grad[0]:
                grad_z = F.conv1d(grad, weight.flip(2), padding=reach, groups=z.size(1))
            if ctx.needs_input_grad[1]:
                grad_weight = _weight_gradient(z, grad, reach)
        return grad_z, grad_weight


def _weight_gradient(z: Tensor, grad: Tensor, reach: int) -> Tensor:
    """The gradient of a depthwise weight, (C, 1, 2 * reach + 1).

    The strips of a channel are laid behind one another, zeros between them, and so are their
    gradients: a tap is then the sum of one product of two long rows, shifted against each other.
    """
    channels = z.size(1)
    inputs = F.pad(z.transpose(0, 1), (reach, reach)).reshape(channels, -1)
    outputs = F.pad(grad.transpose(0, 1), (0, 2 * reach)).reshape(channels, -1)
    length = outputs.size(1) - 2 * reach
    outputs = outputs[:, :length]
    product = torch.empty_like(outputs)
    sums = z.new_empty(channels, 1, 2 * reach + 1)
    for tap in range(2 * reach + 1):
        torch.mul(inputs[:, tap : tap + length], outputs, out=product)
        torch.sum(product, 1, out=sums[:, 0, tap])
    return sums
