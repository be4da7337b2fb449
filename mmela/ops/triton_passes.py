"""The four passes of Efficient Local Attention over a full map, as Triton kernels.

The same functions as in :mod:`mmela.ops.map_passes`, by two kernels: one adds up strips, one writes
maps. Both are generic in N, C, H and W. Nothing about a size is a compile-time constant, so Triton
compiles one kernel for each pass, dtype and memory format, whatever sizes follow.

A program takes a tile of channels and columns of one image and walks down :data:`ROWS` rows of it:
each element of a map is read once. Sums that cross tiles are left as partial sums, which PyTorch
adds up in a fixed order, so results are deterministic. Partial sums are at most 1/16 of the map.

The kernels were checked in Triton's interpreter and compiled for sm_80 and sm_90. They were never
timed on a GPU: the sizes of the tiles are estimates.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmela.ops.reference import gate_dtype

#: Channels, rows and columns of a tile where a plane is contiguous: the columns are neighbours in
#: memory, and several channels share a tile so that small planes fill it.
PLANES = (4, 8, 64)
#: The same for channels_last: the channels of a pixel are neighbours in memory.
PIXELS = (64, 1, 32)
#: Rows that one program walks down; a multiple of the rows of a tile.
ROWS = 64
#: Options of Triton's compiler.
OPTIONS: dict[str, Any] = dict(num_warps=8, enable_fp_fusion=True)

# Triton would compile again for a size of 1, for multiples of 16, and for addresses that are not
# multiples of 16 bytes, unless it is told not to look at them.
_SIZES = ('C', 'H', 'W', 'residual')
_SUMS = ('x_ptr', 'grad_ptr', 'y_h_ptr', 'y_w_ptr', 'sum_h_ptr', 'sum_w_ptr')
_MAPS = ('in_ptr', 'y_h_ptr', 'y_w_ptr', 'mean_h_ptr', 'mean_w_ptr', 'out_ptr')


# Offsets are 64 bits to the corner of a tile and 32 bits inside it: half the registers.


@triton.jit
def _tile(C, H, W, LAST: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_H: tl.constexpr,
          BLOCK_W: tl.constexpr):  # fmt: skip
    """The image of this program, its first channel, and the tile's indices and offsets.

    The indices are those of channels, (BLOCK_C, 1, 1), rows, (1, BLOCK_H, 1), and columns,
    (1, 1, BLOCK_W). Channels and rows begin at 0.
    """
    blocks = tl.cdiv(C, BLOCK_C)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    first = (tl.program_id(0) % blocks) * BLOCK_C
    channel = tl.arange(0, BLOCK_C)[:, None, None]
    row = tl.arange(0, BLOCK_H)[None, :, None]
    column = (tl.program_id(1) * BLOCK_W + tl.arange(0, BLOCK_W))[None, None, :]
    if LAST:
        return image, first, channel, row, column, (row * W + column) * C + channel
    return image, first, channel, row, column, (channel * H + row) * W + column


@triton.jit
def _map_corner(image, channel, row, C, H, W, LAST: tl.constexpr):
    """Offset of the first column of a row in a map."""
    if LAST:
        return (image * H + row) * W * C + channel
    return ((image * C + channel) * H + row) * W


@triton.jit
def _strip(image, first, channel, place, C, length, LAST: tl.constexpr):
    """Offsets in strips, stored as (N, C, L), or as (N, L, C) where channels are last."""
    if LAST:
        return image * length * C + first + (place * C + channel)
    return (image * C + first) * length + (channel * length + place)


@triton.jit(do_not_specialize=[*_SUMS, *_SIZES[:3]], do_not_specialize_on_alignment=_SUMS)
def sums_kernel(x_ptr, grad_ptr, y_h_ptr, y_w_ptr, sum_h_ptr, sum_w_ptr, C, H, W,
                PRODUCT: tl.constexpr, LAST: tl.constexpr, BLOCK_C: tl.constexpr,
                BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    """Partial sums of ``x`` along both axes; with PRODUCT, of ``grad * x`` times a gate.

    ``sum_h`` holds strips along H for each tile of columns, ``sum_w`` strips along W for each
    ROWS rows. Without PRODUCT, ``grad`` and the gates are None.
    """
    dtype: tl.constexpr = sum_h_ptr.dtype.element_ty
    image, first, channel, row, column, offset = _tile(C, H, W, LAST, BLOCK_C, BLOCK_H, BLOCK_W)
    images = (tl.num_programs(0) // tl.cdiv(C, BLOCK_C)).to(tl.int64)
    part_h, part_w = tl.program_id(1) * images + image, tl.program_id(2) * images + image
    known = channel < C - first
    inside = known & (column < W)
    if PRODUCT:
        along_w = _strip(image, first, channel, column, C, W, LAST)
        y_w = tl.load(y_w_ptr + along_w, mask=inside, other=0).to(dtype)
    total = tl.zeros([BLOCK_C, BLOCK_H, BLOCK_W], dtype)
    start = tl.program_id(2) * ROWS
    for begin in range(start, tl.minimum(start + ROWS, H), BLOCK_H):
        corner = _map_corner(image, first, begin, C, H, W, LAST)
        below = row < H - begin
        value = tl.load(x_ptr + corner + offset, mask=inside & below, other=0).to(dtype)
        weighted = value
        if PRODUCT:
            grad = tl.load(grad_ptr + corner + offset, mask=inside & below, other=0)
            along_h = _strip(image, first, channel, begin + row, C, H, LAST)
            y_h = tl.load(y_h_ptr + along_h, mask=known & below, other=0)
            value *= grad.to(dtype)
            weighted = value * y_w
            value *= y_h.to(dtype)
        at = _strip(part_h, first, channel, begin + row, C, H, LAST)
        tl.store(sum_h_ptr + at, tl.sum(weighted, 2)[:, :, None], mask=known & below)
        total += value
    at = _strip(part_w, first, channel, column, C, W, LAST)
    tl.store(sum_w_ptr + at, tl.sum(total, 1)[:, None, :], mask=inside)


@triton.jit(do_not_specialize=[*_MAPS, *_SIZES], do_not_specialize_on_alignment=_MAPS)
def map_kernel(in_ptr, y_h_ptr, y_w_ptr, mean_h_ptr, mean_w_ptr, out_ptr, C, H, W, residual,
               GRADIENT: tl.constexpr, LAST: tl.constexpr, BLOCK_C: tl.constexpr,
               BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    """``[in +] in * y_h * y_w``; with GRADIENT, plus ``mean_h + mean_w``, which are None else."""
    dtype: tl.constexpr = tl.float64 if in_ptr.dtype.element_ty == tl.float64 else tl.float32
    image, first, channel, row, column, offset = _tile(C, H, W, LAST, BLOCK_C, BLOCK_H, BLOCK_W)
    known = channel < C - first
    inside = known & (column < W)
    along_w = _strip(image, first, channel, column, C, W, LAST)
    y_w = tl.load(y_w_ptr + along_w, mask=inside, other=0).to(dtype)
    if GRADIENT:
        mean_w = tl.load(mean_w_ptr + along_w, mask=inside, other=0).to(dtype)
    start = tl.program_id(2) * ROWS
    for begin in range(start, tl.minimum(start + ROWS, H), BLOCK_H):
        corner = _map_corner(image, first, begin, C, H, W, LAST)
        below = row < H - begin
        along_h = _strip(image, first, channel, begin + row, C, H, LAST)
        value = tl.load(in_ptr + corner + offset, mask=inside & below, other=0).to(dtype)
        out = value * tl.load(y_h_ptr + along_h, mask=known & below, other=0).to(dtype) * y_w
        if GRADIENT:
            mean_h = tl.load(mean_h_ptr + along_h, mask=known & below, other=0).to(dtype)
            out += mean_h + mean_w
        out += tl.where(residual != 0, value, 0)
        at = out_ptr + corner + offset
        tl.store(at, out.to(out_ptr.dtype.element_ty), mask=inside & below)


def strip_means(x: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`mmela.ops.strip_means`."""
    sum_h, sum_w = _sums(x, None, None, None)
    return sum_h / x.size(3), sum_w / x.size(2)


def weigh(x: Tensor, y_h: Tensor, y_w: Tensor, residual: bool) -> Tensor:
    """See :func:`mmela.ops.map_passes.weigh`."""
    return _write_map(_dense(x), y_h, y_w, None, None, residual)


def product_sums(grad: Tensor, x: Tensor, y_h: Tensor, y_w: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`mmela.ops.map_passes.product_sums`."""
    return _sums(x, grad, y_h, y_w)


def map_gradient(
    grad: Tensor,
    x: Tensor,
    y_h: Tensor,
    y_w: Tensor,
    grad_z_h: Tensor,
    grad_z_w: Tensor,
    residual: bool,
) -> Tensor:
    """See :func:`mmela.ops.map_passes.map_gradient`."""
    grad = grad.contiguous(memory_format=_memory_format(x))
    return _write_map(grad, y_h, y_w, grad_z_h / x.size(3), grad_z_w / x.size(2), residual)


def _sums(
    x: Tensor, grad: Tensor | None, y_h: Tensor | None, y_w: Tensor | None
) -> tuple[Tensor, Tensor]:
    x = _dense(x)
    n, channels, height, width = x.shape
    _, columns, rows = _grid(x)
    if grad is not None:
        grad = grad.contiguous(memory_format=_memory_format(x))
    options: dict[str, Any] = dict(dtype=gate_dtype(x), device=x.device)
    if _is_last(x):
        sum_h = torch.empty(columns, n, height, channels, **options)
        sum_w = torch.empty(rows, n, width, channels, **options)
    else:
        sum_h = torch.empty(columns, n, channels, height, **options)
        sum_w = torch.empty(rows, n, channels, width, **options)
    gates = (_stored(x, y_h), _stored(x, y_w))
    _launch(sums_kernel, x, grad, *gates, sum_h, sum_w, *x.shape[1:], PRODUCT=grad is not None)
    sum_h, sum_w = (part.squeeze(0) if len(part) == 1 else part.sum(0) for part in (sum_h, sum_w))
    return _stored(x, sum_h), _stored(x, sum_w)


def _write_map(
    x: Tensor,
    y_h: Tensor,
    y_w: Tensor,
    mean_h: Tensor | None,
    mean_w: Tensor | None,
    residual: bool,
) -> Tensor:
    out = torch.empty_like(x)
    strips = [_stored(x, strip) for strip in (y_h, y_w, mean_h, mean_w)]
    gradient = mean_h is not None
    _launch(map_kernel, x, *strips, out, *x.shape[1:], int(residual), GRADIENT=gradient)
    return out


def _launch(kernel: Any, x: Tensor, *arguments: Any, **flags: bool) -> None:
    blocks: dict[str, Any] = dict(zip(('BLOCK_C', 'BLOCK_H', 'BLOCK_W'), _blocks(x), strict=True))
    with torch.cuda.device_of(x):  # nothing for a map on the CPU, which the interpreter takes
        kernel[_grid(x)](x, *arguments, **flags, **blocks, LAST=_is_last(x), ROWS=ROWS, **OPTIONS)


def _grid(x: Tensor) -> tuple[int, int, int]:
    (n, channels, height, width), (block_c, _, block_w) = x.shape, _blocks(x)
    return n * -(-channels // block_c), -(-width // block_w), -(-height // ROWS)


def _blocks(x: Tensor) -> tuple[int, int, int]:
    return PIXELS if _is_last(x) else PLANES


def _is_last(x: Tensor) -> bool:
    """Whether a dense map has its channels last; those that lie either way count as planes."""
    return not x.is_contiguous()


def _dense(x: Tensor) -> Tensor:
    """A map that is contiguous in one of the memory formats: itself, or a copy."""
    return x.contiguous(memory_format=_memory_format(x))


def _memory_format(x: Tensor) -> torch.memory_format:
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _stored(x: Tensor, strip: Any) -> Any:
    """A strip (N, C, L) as the kernels store it beside a map, and back; None stays None."""
    if strip is None:
        return None
    return (strip.transpose(1, 2) if _is_last(x) else strip).contiguous()
