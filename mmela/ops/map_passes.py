"""The four passes of Efficient Local Attention over a full map, in PyTorch.

A map seldom fits the cache of a CPU. Each pass goes through it in blocks that do, and finishes a
block before it starts the next, so that several operations cost the memory traffic of one. A pass
allocates its result, strips, and one or two buffers of a block, whatever the size of the map. Small
maps are processed whole.

Both memory formats are viewed as (N, G, H, W, D), D innermost: (N, C, H, W, 1) for contiguous
planes, (N, 1, H, W, C) for contiguous channels (channels_last).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mmela.ops import reference
from mmela.ops.reference import gate_dtype

#: Elements of a block: for three maps, 12 MB of float32. Half or twice as many make no measurable
#: difference; far smaller blocks cost calls, far larger ones do not fit the cache.
BLOCK = 2**20
#: Maps of at most this many blocks go forward whole: more calls cost more than the cache saves.
FORWARD_BLOCKS = 4

Index = tuple[slice, ...]


class Layout:
    """The memory layout of a map, and its blocks.

    Args:
        x: Map of shape (N, C, H, W), of any strides.
    """

    def __init__(self, x: Tensor) -> None:
        self.pixels = not x.is_contiguous() and x.stride(1) == 1
        n, channels, height, width = x.shape
        groups, depth = (1, channels) if self.pixels else (channels, 1)
        self.shape = (n, groups, height)
        self.row = max(width * depth, 1)
        # On other devices each call costs a launch, and blocks only keep the buffers small.
        self.elements = BLOCK if x.device.type == 'cpu' else 16 * BLOCK

    def fits(self, blocks: int) -> bool:
        """Whether planes are contiguous and the map has at most this many blocks."""
        n, groups, height = self.shape
        return not self.pixels and n * groups * height * self.row <= blocks * self.elements

    def map(self, x: Tensor) -> Tensor:
        """(N, C, H, W) as (N, G, H, W, D), a view."""
        return x.permute(0, 2, 3, 1).unsqueeze(1) if self.pixels else x.unsqueeze(4)

    def along_h(self, strip: Tensor) -> Tensor:
        """(N, C, H) as (N, G, H, 1, D)."""
        return self._strip(strip).unsqueeze(3)

    def along_w(self, strip: Tensor) -> Tensor:
        """(N, C, W) as (N, G, 1, W, D)."""
        return self._strip(strip).unsqueeze(2)

    def strip(self, sums: Tensor) -> Tensor:
        """(N, G, L, D) as (N, C, L)."""
        return sums.squeeze(1).transpose(1, 2).contiguous() if self.pixels else sums.squeeze(3)

    def blocks(self) -> list[Index]:
        """Slices of (N, G, H): whole samples, or groups of a sample, or rows of a group."""
        n, groups, height = self.shape
        rows = max(self.elements // self.row, 1)
        steps = (
            max(rows // max(groups * height, 1), 1),
            min(max(rows // max(height, 1), 1), max(groups, 1)),
            min(rows, max(height, 1)),
        )
        return [
            (i, j, k)
            for i in _slices(n, steps[0])
            for j in _slices(groups, steps[1])
            for k in _slices(height, steps[2])
        ]

    def buffer(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        """A flat buffer for the largest block."""
        return like.new_empty(min(max(self.elements, self.row), like.numel()), dtype=dtype)

    def _strip(self, strip: Tensor) -> Tensor:
        if self.pixels:
            return strip.transpose(1, 2).contiguous().unsqueeze(1)
        return strip.contiguous().unsqueeze(3)


def strip_means(x: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`mmela.ops.strip_means`, up to rounding."""
    layout, dtype = Layout(x), gate_dtype(x)
    if x.device.type != 'cpu' or (layout.fits(FORWARD_BLOCKS) and x.dtype == dtype):
        return reference.strip_means(x)  # a GPU converts while it sums, without a buffer
    full = layout.map(x)
    sum_h, sum_w = _empty_sums(full, dtype)
    buffer = None if x.dtype == dtype else layout.buffer(x, dtype)
    for index in layout.blocks():
        part = full[index]
        if buffer is not None:
            part = _view(buffer, part).copy_(part)
        torch.sum(part, 3, out=sum_h[index])
        _add_sum(part, index, sum_w)
    return layout.strip(sum_h.div_(x.size(3))), layout.strip(sum_w.div_(x.size(2)))


def weigh(x: Tensor, y_h: Tensor, y_w: Tensor, residual: bool) -> Tensor:
    """``[x +] x * y_h * y_w`` for gates of shape (N, C, H) and (N, C, W) and the dtype of ``x``."""
    layout = Layout(x)
    if layout.fits(FORWARD_BLOCKS):
        out, b = x * y_h.unsqueeze(3), y_w.unsqueeze(2)
        return torch.addcmul(x, out, b, out=out) if residual else out.mul_(b)
    out = torch.empty_like(x)
    a, b = layout.along_h(y_h), layout.along_w(y_w)
    full, result = layout.map(x), layout.map(out)
    # In reverse: the blocks that were read last for the means may still be in the cache.
    for index in reversed(layout.blocks()):
        part, block = full[index], result[index]
        torch.mul(part, a[index], out=block)
        if residual:
            torch.addcmul(part, block, b[index[:2]], out=block)
        else:
            block.mul_(b[index[:2]])
    return out


def product_sums(grad: Tensor, x: Tensor, y_h: Tensor, y_w: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of the gates.

    The caller disables autocast, which would multiply the matrices in half precision.

    Args:
        grad: Gradient of the output, shape (N, C, H, W), of any strides.
        x: The map.
        y_h: Gate of shape (N, C, H) and the dtype of ``x``.
        y_w: Gate of shape (N, C, W) and the dtype of ``x``.

    Returns:
        ``sum_W(grad * x * y_w)`` of shape (N, C, H) and ``sum_H(grad * x * y_h)`` of shape
        (N, C, W), in :func:`mmela.ops.reference.gate_dtype`.
    """
    layout, dtype = Layout(x), gate_dtype(x)
    if layout.fits(1) and x.dtype == grad.dtype == dtype:
        product = x * grad
        sum_w = torch.matmul(y_h.unsqueeze(2), product).squeeze(2)
        return torch.matmul(product, y_w.unsqueeze(3)).squeeze(3), sum_w
    a, b = layout.along_h(y_h.to(dtype)), layout.along_w(y_w.to(dtype))
    full, full_grad = layout.map(x), layout.map(grad)
    sum_h, sum_w = _empty_sums(full, dtype)
    buffer = layout.buffer(x, dtype)
    spare = layout.buffer(x, dtype) if layout.pixels else None
    for index in layout.blocks():
        part, gates = full[index], (a[index], b[index[:2]])
        product = _view(buffer, part)
        if x.dtype == grad.dtype == dtype:
            torch.mul(full_grad[index], part, out=product)
        else:
            product.copy_(part).mul_(full_grad[index])
        if spare is not None:
            weighted = torch.mul(product, gates[1], out=_view(spare, part))
            torch.sum(weighted, 3, out=sum_h[index])
            _add_sum(product.mul_(gates[0]), index, sum_w)
        else:
            # Matrix-vector products with planes read the block once each and write a strip.
            plane, row, column = product.squeeze(4), gates[0].squeeze(4), gates[1].squeeze(4)
            sum_h[index] = torch.matmul(plane, column.transpose(2, 3))
            sum_w[index[:2]] += torch.matmul(row.transpose(2, 3), plane).transpose(2, 3)
    return layout.strip(sum_h), layout.strip(sum_w)


def map_gradient(
    grad: Tensor,
    x: Tensor,
    y_h: Tensor,
    y_w: Tensor,
    grad_z_h: Tensor,
    grad_z_w: Tensor,
    residual: bool,
) -> Tensor:
    """The gradient of the map.

    Args:
        grad: Gradient of the output, shape (N, C, H, W), of any strides.
        x: The map, for its memory format.
        y_h: Gate of shape (N, C, H) and the dtype of ``x``.
        y_w: Gate of shape (N, C, W) and the dtype of ``x``.
        grad_z_h: Gradient of the means over W, shape (N, C, H).
        grad_z_w: Gradient of the means over H, shape (N, C, W).
        residual: Whether ``x`` was added to the output.

    Returns:
        ``[grad +] grad * y_h * y_w + grad_z_h / W + grad_z_w / H``.
    """
    layout, out = Layout(x), torch.empty_like(x)
    grad_h, grad_w = (grad_z_h / x.size(3)).to(x.dtype), (grad_z_w / x.size(2)).to(x.dtype)
    if layout.fits(1):
        torch.mul(grad, y_h.unsqueeze(3), out=out)
        torch.addcmul(grad_h.unsqueeze(3), out, y_w.unsqueeze(2), out=out)
        out.add_(grad_w.unsqueeze(2))
        return out.add_(grad) if residual else out
    a, b = layout.along_h(y_h), layout.along_w(y_w)
    mean_h, mean_w = layout.along_h(grad_h), layout.along_w(grad_w)
    full_grad, result = layout.map(grad), layout.map(out)
    for index in reversed(layout.blocks()):
        part, block = full_grad[index], result[index]
        torch.mul(part, a[index], out=block)
        torch.addcmul(mean_h[index], block, b[index[:2]], out=block)
        block.add_(mean_w[index[:2]])
        if residual:
            block.add_(part)
    return out


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def _empty_sums(full: Tensor, dtype: torch.dtype) -> tuple[Any, Any]:
    """Uninitialised sums over W, (N, G, H, D), and zero sums over H, (N, G, W, D)."""
    n, groups, height, width, depth = full.shape
    return (
        full.new_empty((n, groups, height, depth), dtype=dtype),
        full.new_zeros((n, groups, width, depth), dtype=dtype),
    )


def _add_sum(part: Tensor, index: Index, sum_w: Tensor) -> None:
    if part.size(2) == index[2].stop:  # the first rows
        torch.sum(part, 2, out=sum_w[index[:2]])
    else:
        sum_w[index[:2]] += part.sum(2)


def _view(buffer: Tensor, part: Tensor) -> Tensor:
    return buffer[: part.numel()].view(part.shape)
