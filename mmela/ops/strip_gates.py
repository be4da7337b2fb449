"""From strips to gates and back: what Efficient Local Attention does with vectors.

On small maps calls are what a layer costs on a CPU. So the strips of both axes go through one
convolution, those of equal length through one normalisation as well, and backward is written out
instead of recorded. PyTorch's depthwise convolution is slow there for short strips: its gradient
with respect to the weight costs several times all the rest of the gate, and where a strip is
shorter than the kernel (the last stages of a classifier on small images) it takes milliseconds for
a few thousand numbers. Both are mended by what the convolution is: taps that only ever meet the
padding are left out, and the gradients are products of matrices where strips are small, else one
sum a tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmela.ops.reference import gate_dtype, without_autocast

#: Elements up to which the windows of all strips are laid out at once: they stay in the cache.
WINDOWS = 2**18


class StripGates:
    """The gates of one map: ``sigmoid(GroupNorm(Conv1d(z)))`` for the strips of both axes.

    Args:
        x: The map, for its size (N, C, H, W), positive, and its dtype.
        conv_weight: See :func:`mmela.ops.ela`, as for all that follow.
        gn_weight: Shape (C,).
        gn_bias: Shape (C,).
        groups: Groups of the convolution.
        num_groups: Groups of the normalisation, each of more than one element.
        eps: Added to the variance of a group.
    """

    def __init__(
        self,
        x: Tensor,
        conv_weight: Tensor,
        gn_weight: Tensor,
        gn_bias: Tensor,
        *,
        groups: int,
        num_groups: int,
        eps: float,
    ) -> None:
        dtype = gate_dtype(x)
        self._gn_weight, self._gn_bias = gn_weight.to(dtype), gn_bias.to(dtype)
        self._groups, self._num_groups, self._eps = groups, num_groups, eps
        # Taps farther out than the longest strip meet nothing but padding.
        padding = conv_weight.size(2) // 2
        self._reach = min(padding, max(x.shape[2:]) - 1)
        self._left_out = padding - self._reach
        self._taps = conv_weight.to(dtype).narrow(2, self._left_out, 2 * self._reach + 1)
        self._pair = _Pair(x.size(2), x.size(3), self._reach)

    def convolve(self, z_h: Tensor, z_w: Tensor) -> tuple[Tensor, Tensor]:
        """Convolves the means of the map.

        Args:
            z_h: Shape (N, C, H).
            z_w: Shape (N, C, W).

        Returns:
            Both strips in one tensor, and the same behind the convolution. Forward and backward
            need nothing else of them.
        """
        z = self._pair.join(self._pair.together(z_h, z_w))
        # Autocast would run the convolution in half precision, whatever the dtype of its input.
        with without_autocast(z):
            return z, F.conv1d(z, self._taps, padding=self._reach, groups=self._groups)

    def normalise(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The gates, (N, C, H) and (N, C, W), of what the convolution gave."""
        self._parts = [
            _NormedGate(part, self._gn_weight, self._gn_bias, self._num_groups, self._eps)
            for part in self._pair.cut(u)
        ]
        return self._pair.apart([part.gate for part in self._parts])

    def backward(
        self, grad_h: Tensor, grad_w: Tensor, z: Tensor, wanted: Sequence[bool]
    ) -> tuple[Any, ...]:
        """The gradients, once the gates have been computed.

        Args:
            grad_h: Gradient of the gate along H, shape (N, C, H).
            grad_w: Gradient of the gate along W, shape (N, C, W).
            z: What :meth:`convolve` returned first.
            wanted: Whether each of the gradients below is asked for, the strips' two as one; None
                takes the place of the others.

        Returns:
            The gradients of both strips (a pair), the convolution's weight, and the weight and the
            bias of the normalisation.
        """
        pair, (of_strips, of_taps, *of_norm) = self._pair, wanted
        grads = pair.together(grad_h, grad_w)
        back = [part.backward(g, of_norm) for part, g in zip(self._parts, grads, strict=True)]
        grads_u, *grads_norm = zip(*back, strict=True)
        grad_z, grad_taps = self._convolve_backward(pair.join(grads_u), z, [of_strips, of_taps])
        return (
            None if grad_z is None else pair.apart(pair.cut(grad_z)),
            None if grad_taps is None else F.pad(grad_taps, (self._left_out, self._left_out)),
            *(None if grads[0] is None else sum(grads) for grads in grads_norm),
        )

    def _convolve_backward(
        self, grad: Tensor, z: Tensor, wanted: Sequence[bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        with without_autocast(z):
            if z.device.type == 'cpu' and self._groups == z.size(1):
                small = z.numel() * self._taps.size(2) <= WINDOWS
                by = _gradients_by_windows if small else _gradients_by_sums
                return by(grad, z, self._taps, wanted)
            grad_z, grad_taps, _ = torch.ops.aten.convolution_backward(
                grad, z, self._taps, None, [1], [self._reach], [1], False, [0], self._groups,
                [*wanted, False],
            )  # fmt: skip
            return grad_z, grad_taps


class _Pair:
    """How the strips of both axes go through the gates together.

    Strips of one length are samples: one tensor, (2 N, C, L), serves the whole way. Strips of two
    lengths are normalised apart; for the convolution they lie behind one another, as
    (N, C, H + gap + W), with the zeros between them that it would pad with.
    """

    def __init__(self, height: int, width: int, gap: int) -> None:
        self._square = height == width
        self._lengths = [height, gap, width]

    def together(self, h: Tensor, w: Tensor) -> list[Tensor]:
        """The strips of both axes as the tensors that are normalised in one call each."""
        return [torch.cat([h, w])] if self._square else [h, w]

    def apart(self, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Undoes :meth:`together`."""
        h, w = parts[0].chunk(2) if self._square else parts
        return h, w

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The parts as the one tensor that is convolved."""
        if self._square:
            return parts[0]
        h, w = parts
        return torch.cat([h, h.new_zeros(*h.shape[:2], self._lengths[1]), w], 2)

    def cut(self, strips: Tensor) -> list[Tensor]:
        """Undoes :meth:`join`."""
        if self._square:
            return [strips]
        h, _, w = strips.split(self._lengths, 2)
        return [h, w]


class _NormedGate:
    """``sigmoid(GroupNorm(u))`` of strips (N, C, L)."""

    def __init__(self, u: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> None:
        self._u, self._weight, self._groups = u.contiguous(), weight, groups
        normed, *self._statistics = torch.native_group_norm(
            self._u, weight, bias, *u.shape, groups, eps
        )
        self.gate = normed.sigmoid_()

    def backward(self, grad: Tensor, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
        """The gradients of the strips and, as far as they are wanted, of weight and bias."""
        aten = torch.ops.aten
        grad = aten.sigmoid_backward(grad, self.gate).contiguous()
        grads: tuple[Tensor | None, ...] = aten.native_group_norm_backward(
            grad, self._u, *self._statistics, self._weight, *grad.shape, self._groups,
            [True, *wanted],
        )  # fmt: skip
        return grads


def _gradients_by_windows(
    grad: Tensor, z: Tensor, taps: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of a depthwise convolution of few numbers, as products of matrices.

    What the taps see of ``grad``, its windows (C, taps, N L), is multiplied with the flipped taps
    for the gradient of the strips, and with the strips for that of the flipped taps.
    """
    n, channels, length = z.shape
    reach = taps.size(2) // 2
    padded = F.pad(grad.transpose(0, 1), (reach, reach))
    windows = padded.unfold(2, taps.size(2), 1).movedim(3, 1).reshape(channels, -1, n * length)
    grad_z = grad_taps = None
    if wanted[0]:
        grad_z = torch.bmm(taps.flip(2), windows).view(channels, n, length).transpose(0, 1)
    if wanted[1]:
        strips = z.transpose(0, 1).reshape(channels, n * length, 1)
        grad_taps = torch.bmm(windows, strips).flip(1).transpose(1, 2)
    return grad_z, grad_taps


def _gradients_by_sums(
    grad: Tensor, z: Tensor, taps: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The same of many numbers, without room for windows.

    The strips of a channel are laid behind one another, zeros between them, and so are their
    gradients: that of a tap is then the sum of one product of two long rows, shifted against each
    other.
    """
    channels, reach = z.size(1), taps.size(2) // 2
    grad_z = None
    if wanted[0]:
        grad_z = F.conv1d(grad, taps.flip(2), padding=reach, groups=channels)
    if not wanted[1]:
        return grad_z, None
    inputs = F.pad(z.transpose(0, 1), (reach, reach)).reshape(channels, -1)
    outputs = F.pad(grad.transpose(0, 1), (0, 2 * reach)).reshape(channels, -1)
    length = outputs.size(1) - 2 * reach
    outputs = outputs[:, :length]
    product, grad_taps = torch.empty_like(outputs), torch.empty_like(taps)
    for tap in range(2 * reach + 1):
        torch.mul(inputs[:, tap : tap + length], outputs, out=product)
        torch.sum(product, 1, out=grad_taps[:, 0, tap])
    return grad_z, grad_taps
