"""From strips to gates, and the gradients back to strips.

On a small map the number of calls decides what a layer costs on a CPU. So the strips of both axes
share one convolution, strips of equal length also one normalisation, and backward is hand-written.
PyTorch's depthwise convolution is slow there for short strips: its weight gradient costs several
times the rest of the gate, and for strips shorter than the kernel (the last stages of a classifier
on small images) it takes milliseconds for a few thousand numbers. So taps that only ever meet the
padding are left out, and the gradients are matrix products for small strips and one sum per tap
for others. The caller disables autocast, which would compute all of it in half precision.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

#: The windows of all strips are laid out at once up to this many elements, which fit the cache.
WINDOW_ELEMENTS = 2**18


class StripPair:
    """How the strips of both axes, (N, C, H) and (N, C, W), are processed together.

    Strips of equal length are stacked as samples in one tensor, (2 N, C, L). Strips of different
    lengths are normalised separately; for the convolution they are concatenated as
    (N, C, H + gap + W), with the zeros of its padding between them.

    Args:
        height: H, positive.
        width: W, positive.
        kernel_size: Of the convolution, odd.
    """

    def __init__(self, height: int, width: int, kernel_size: int) -> None:
        self._square = height == width
        #: Taps on either side of the middle one that meet anything but padding.
        self.reach = min(kernel_size // 2, max(height, width) - 1)
        self._lengths = [height, self.reach, width]

    def to_norm(self, h: Tensor, w: Tensor) -> list[Tensor]:
        """Strips to the tensors that are normalised, each in one call."""
        return [torch.cat([h, w])] if self._square else [h, w]

    def from_norm(self, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The inverse of :meth:`to_norm`."""
        h, w = parts[0].chunk(2) if self._square else parts
        return h, w

    def norm_to_conv(self, parts: Sequence[Tensor]) -> Tensor:
        """The normalised tensors to the one tensor that is convolved."""
        if self._square:
            return parts[0]
        h, w = parts
        gap = h.new_zeros(*h.shape[:2], self._lengths[1])
        return torch.cat([h, gap, w], 2)

    def conv_to_norm(self, strips: Tensor) -> list[Tensor]:
        """The inverse of :meth:`norm_to_conv`."""
        if self._square:
            return [strips]
        h, _, w = strips.split(self._lengths, 2)
        return [h, w]


class StripConvolution:
    """The convolution shared by the strips of both axes.

    Args:
        pair: The strips.
        weight: Shape (C, C // groups, k) with k odd; padded by k // 2.
        groups: Of the convolution.
    """

    def __init__(self, pair: StripPair, weight: Tensor, groups: int) -> None:
        self._pair, self._groups, self._reach = pair, groups, pair.reach
        self._left_out = weight.size(2) // 2 - pair.reach
        self._taps = weight
        if self._left_out:
            self._taps = weight.narrow(2, self._left_out, 2 * pair.reach + 1)

    def forward(self, z_h: Tensor, z_w: Tensor) -> tuple[Tensor, Tensor]:
        """Convolves strips.

        Args:
            z_h: Shape (N, C, H).
            z_w: Shape (N, C, W).

        Returns:
            Both strips in one tensor, which backward needs, and the same tensor convolved.
        """
        z = self._pair.norm_to_conv(self._pair.to_norm(z_h, z_w))
        taps = self._taps.to(z.dtype)
        return z, F.conv1d(z, taps, padding=self._reach, groups=self._groups)

    def backward(
        self, grad: Tensor, z: Tensor, of_strips: bool, of_weight: bool
    ) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
        """The gradients.

        Args:
            grad: Gradient of the convolved tensor.
            z: The first result of :meth:`forward`.
            of_strips: Whether the gradients of the strips are needed.
            of_weight: Whether the gradient of the weight is needed.

        Returns:
            The gradients of ``z_h`` and ``z_w``, and of the weight; None where not needed.
        """
        if not (of_strips or of_weight):
            return None, None
        taps = self._taps.to(z.dtype)
        if z.device.type != 'cpu' or self._groups != z.size(1):
            grad_z, grad_taps, _ = torch.ops.aten.convolution_backward(
                grad, z, taps, None, [1], [self._reach], [1], False, [0], self._groups,
                [of_strips, of_weight, False],
            )  # fmt: skip
        elif z.numel() * taps.size(2) <= WINDOW_ELEMENTS:
            grad_z, grad_taps = _depthwise_backward(grad, z, taps)
        else:
            grad_z = grad_taps = None
            if of_strips:
                grad_z = F.conv1d(grad, taps.flip(2), padding=self._reach, groups=self._groups)
            if of_weight:
                grad_taps = _depthwise_weight_gradient(grad, z, self._reach)
        grad_strips = None
        if of_strips:
            grad_strips = self._pair.from_norm(self._pair.conv_to_norm(grad_z))
        if of_weight and self._left_out:
            grad_taps = F.pad(grad_taps, (self._left_out, self._left_out))
        return grad_strips, grad_taps if of_weight else None


class StripGates:
    """``sigmoid(GroupNorm(u))`` for the strips of both axes.

    Args:
        pair: The strips.
        u: The convolved strips, in one tensor.
        weight: Of the normalisation, shape (C,).
        bias: Of the normalisation, shape (C,).
        num_groups: Groups of the normalisation, each of more than one element.
        eps: Added to the variance of a group.

    Attributes:
        h: The gate along H, (N, C, H).
        w: The gate along W, (N, C, W).
    """

    def __init__(
        self,
        pair: StripPair,
        u: Tensor,
        weight: Tensor,
        bias: Tensor,
        num_groups: int,
        eps: float,
    ) -> None:
        self._pair, self._num_groups = pair, num_groups
        # These ATen functions assume contiguous memory.
        self._weight, bias = (p.to(u.dtype).contiguous() for p in (weight, bias))
        self._parts = [part.contiguous() for part in pair.conv_to_norm(u)]
        normed, self._means, self._rstds = zip(
            *(
                torch.native_group_norm(part, self._weight, bias, *part.shape, num_groups, eps)
                for part in self._parts
            ),
            strict=True,
        )
        self._gates = [part.sigmoid_() for part in normed]
        self.h, self.w = pair.from_norm(self._gates)

    def backward(
        self, grad_h: Tensor, grad_w: Tensor, of_weight: bool, of_bias: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The gradients, given those of the gates.

        Args:
            grad_h: Gradient of the gate along H, shape (N, C, H).
            grad_w: Gradient of the gate along W, shape (N, C, W).
            of_weight: Whether the gradient of the weight is needed.
            of_bias: Whether the gradient of the bias is needed.

        Returns:
            The gradients of ``u``, the weight and the bias; None where not needed.
        """
        aten = torch.ops.aten
        back = [
            aten.native_group_norm_backward(
                aten.sigmoid_backward(grad, gate).contiguous(), u, mean, rstd, self._weight,
                *u.shape, self._num_groups, [True, of_weight, of_bias],
            )
            for grad, gate, u, mean, rstd in zip(
                self._pair.to_norm(grad_h, grad_w), self._gates, self._parts, self._means,
                self._rstds, strict=True,
            )
        ]  # fmt: skip
        grads_u, grads_weight, grads_bias = zip(*back, strict=True)
        return (
            self._pair.norm_to_conv(grads_u),
            sum(grads_weight) if of_weight else None,
            sum(grads_bias) if of_bias else None,
        )


def _depthwise_backward(grad: Tensor, z: Tensor, taps: Tensor) -> tuple[Tensor, Tensor]:
    """Both gradients of a depthwise convolution as matrix products.

    The windows of ``grad``, (C, taps, N L), times the flipped taps are the gradient of the strips;
    times the strips they are the gradient of the flipped taps.
    """
    n, channels, length = z.shape
    reach = taps.size(2) // 2
    padded = F.pad(grad.transpose(0, 1), (reach, reach))
    windows = padded.unfold(2, taps.size(2), 1).movedim(3, 1).reshape(channels, -1, n * length)
    grad_z = torch.bmm(taps.flip(2), windows).view(channels, n, length).transpose(0, 1)
    strips = z.transpose(0, 1).reshape(channels, n * length, 1)
    return grad_z, torch.bmm(windows, strips).flip(1).transpose(1, 2)


def _depthwise_weight_gradient(grad: Tensor, z: Tensor, reach: int) -> Tensor:
    """The gradient of a depthwise weight, (C, 1, 2 * reach + 1), without laying out windows.

    The strips of a channel are concatenated with zeros between them, and so are their gradients.
    The gradient of a tap is then the product of two long rows, shifted against each other, summed.
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
