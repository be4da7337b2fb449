"""Device code on maps: the passes over the feature map.

A tile has three dimensions, (channels, rows, columns), whatever the memory format: the offsets
alone know it, and Triton lays the threads along the dimension that is contiguous. A tile is as wide
as the map, so a sum over W is whole within a tile; sums over H go on from tile to tile and are
reduced once, in a fixed order.

Each pass serves the channels ``first_channel`` to ``first_channel + CHANNELS`` and the rows
``first_row`` to ``last_row`` of one image.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmela.ops.fused.gates import load_gate


@triton.jit
def tile_places(start_channel, last_channel, start_row, last_row, H, W, C: tl.constexpr,
                CHANNELS_LAST: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_H: tl.constexpr,
                BLOCK_W: tl.constexpr):  # fmt: skip
    """Channels, rows and columns of a tile, its offsets in an image, and what of it is inside."""
    channel = start_channel + tl.arange(0, BLOCK_C)
    row = start_row + tl.arange(0, BLOCK_H)
    column = tl.arange(0, BLOCK_W)
    if CHANNELS_LAST:
        offset = (row[None, :, None] * W + column[None, None, :]) * C + channel[:, None, None]
    else:
        offset = (channel[:, None, None] * H + row[None, :, None]) * W + column[None, None, :]
    inside = (channel < last_channel)[:, None, None] & (row < last_row)[None, :, None]
    return channel, row, column, offset, inside & (column < W)[None, None, :]


@triton.jit
def store_rows(strips_ptr, sums, channel, row, last_channel, last_row, H):
    """Stores the sums over W, (channels, rows), as strips along H."""
    inside = (channel < last_channel)[:, None] & (row < last_row)[None, :]
    tl.store(strips_ptr + channel[:, None] * H + row[None, :], sums, mask=inside)


@triton.jit
def store_columns(columns_ptr, sums, channel, column, last_channel, W):
    """Stores the sums over H, (channels, columns), as strips along W."""
    inside = (channel < last_channel)[:, None] & (column < W)[None, :]
    tl.store(columns_ptr + channel[:, None] * W + column[None, :], sums, mask=inside)


@triton.jit
def row_gates(normed_ptr, gn_weight_ptr, gn_bias_ptr, scale_ptr, channel, last_channel, row, H):
    """The gates along H of a tile, (channels, rows), with the scale folded in."""
    known = channel < last_channel
    gates = load_gate(
        normed_ptr, gn_weight_ptr, gn_bias_ptr, channel * H, channel, known, row, H
    )  # fmt: skip
    if scale_ptr is not None:
        gates *= tl.load(scale_ptr + channel, mask=known, other=0.0).to(tl.float32)[:, None]
    return gates


@triton.jit
def column_gates(normed_ptr, gn_weight_ptr, gn_bias_ptr, channel, last_channel, column, H, W,
                 C: tl.constexpr):  # fmt: skip
    """The gates along W of a tile, (channels, columns)."""
    return load_gate(
        normed_ptr + C * H, gn_weight_ptr, gn_bias_ptr, channel * W, channel,
        channel < last_channel, column, W,
    )  # fmt: skip


@triton.jit
def weigh(x, y_h, y_w, RESIDUAL: tl.constexpr):
    """The product of a tile and its gates, in float32."""
    factor = y_h[:, :, None] * y_w[:, None, :]
    if RESIDUAL:
        factor += 1.0
    return x.to(tl.float32) * factor


@triton.jit
def map_means(x_ptr, strips_ptr, columns_ptr, first_channel, first_row, last_row, H, W,
              C: tl.constexpr, CHANNELS: tl.constexpr, CHANNELS_LAST: tl.constexpr,
              BLOCK_C: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr):  # fmt: skip
    """Both means in one read: over W into ``strips_ptr``, over these rows into ``columns_ptr``."""
    last_channel = first_channel + CHANNELS
    for start_channel in range(first_channel, last_channel, BLOCK_C):
        columns = tl.zeros([BLOCK_C, BLOCK_H, BLOCK_W], tl.float32)
        for start_row in range(first_row, last_row, BLOCK_H):
            channel, row, column, offset, inside = tile_places(
                start_channel, last_channel, start_row, last_row, H, W, C, CHANNELS_LAST,
                BLOCK_C, BLOCK_H, BLOCK_W,
            )  # fmt: skip
            # The map is read again after the gates: ask the caches to keep it.
            x = tl.load(x_ptr + offset, mask=inside, other=0.0, eviction_policy='evict_last')
            x = x.to(tl.float32)
            columns += x
            store_rows(strips_ptr, tl.sum(x, 2) / W, channel, row, last_channel, last_row, H)
        channel = start_channel + tl.arange(0, BLOCK_C)
        store_columns(
            columns_ptr, tl.sum(columns, 1) / H, channel, tl.arange(0, BLOCK_W), last_channel, W
        )


@triton.jit
def map_product(x_ptr, out_ptr, normed_ptr, gn_weight_ptr, gn_bias_ptr, scale_ptr, first_channel,
                first_row, last_row, H, W, C: tl.constexpr, CHANNELS: tl.constexpr,
                CHANNELS_LAST: tl.constexpr, RESIDUAL: tl.constexpr, BLOCK_C: tl.constexpr,
                BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr):  # fmt: skip
    """``out = [x +] [scale *] x * y_h * y_w``."""
    last_channel = first_channel + CHANNELS
    for start_channel in range(first_channel, last_channel, BLOCK_C):
        channel = start_channel + tl.arange(0, BLOCK_C)
        column = tl.arange(0, BLOCK_W)
        y_w = column_gates(
            normed_ptr, gn_weight_ptr, gn_bias_ptr, channel, last_channel, column, H, W, C
        )
        for start_row in range(first_row, last_row, BLOCK_H):
            channel, row, column, offset, inside = tile_places(
                start_channel, last_channel, start_row, last_row, H, W, C, CHANNELS_LAST,
                BLOCK_C, BLOCK_H, BLOCK_W,
            )  # fmt: skip
            x = tl.load(x_ptr + offset, mask=inside, other=0.0, eviction_policy='evict_first')
            y_h = row_gates(
                normed_ptr, gn_weight_ptr, gn_bias_ptr, scale_ptr, channel, last_channel, row, H
            )
            out = weigh(x, y_h, y_w, RESIDUAL)
            tl.store(out_ptr + offset, out.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def map_gate_grads(x_ptr, grad_ptr, strips_ptr, columns_ptr, normed_ptr, gn_weight_ptr,
                   gn_bias_ptr, scale_ptr, first_channel, first_row, last_row, H, W,
                   C: tl.constexpr, CHANNELS: tl.constexpr, CHANNELS_LAST: tl.constexpr,
                   BLOCK_C: tl.constexpr, BLOCK_H: tl.constexpr,
                   BLOCK_W: tl.constexpr):  # fmt: skip
    """The gradients of both gates in one read of the map and the output's gradient."""
    last_channel = first_channel + CHANNELS
    for start_channel in range(first_channel, last_channel, BLOCK_C):
        channel = start_channel + tl.arange(0, BLOCK_C)
        column = tl.arange(0, BLOCK_W)
        y_w = column_gates(
            normed_ptr, gn_weight_ptr, gn_bias_ptr, channel, last_channel, column, H, W, C
        )
        columns = tl.zeros([BLOCK_C, BLOCK_H, BLOCK_W], tl.float32)
        for start_row in range(first_row, last_row, BLOCK_H):
            channel, row, column, offset, inside = tile_places(
                start_channel, last_channel, start_row, last_row, H, W, C, CHANNELS_LAST,
                BLOCK_C, BLOCK_H, BLOCK_W,
            )  # fmt: skip
            # Of the two, only the gradient is read again.
            x = tl.load(x_ptr + offset, mask=inside, other=0.0, eviction_policy='evict_first')
            grad = tl.load(grad_ptr + offset, mask=inside, other=0.0, eviction_policy='evict_last')
            y_h = row_gates(
                normed_ptr, gn_weight_ptr, gn_bias_ptr, scale_ptr, channel, last_channel, row, H
            )
            product = x.to(tl.float32) * grad.to(tl.float32)
            columns += product * y_h[:, :, None]
            rows = tl.sum(product * y_w[:, None, :], 2)
            store_rows(strips_ptr, rows, channel, row, last_channel, last_row, H)
        store_columns(columns_ptr, tl.sum(columns, 1), channel, column, last_channel, W)


@triton.jit
def load_strips(strips_ptr, channel, last_channel, place, length):
    """Strips of a tile, (channels, places)."""
    inside = (channel < last_channel)[:, None] & (place < length)[None, :]
    at = channel[:, None] * length + place[None, :]
    return tl.load(strips_ptr + at, mask=inside, other=0.0)


@triton.jit
def map_input_grad(grad_ptr, grad_x_ptr, mean_grads_ptr, normed_ptr, gn_weight_ptr, gn_bias_ptr,
                   scale_ptr, first_channel, first_row, last_row, H, W, C: tl.constexpr,
                   CHANNELS: tl.constexpr, CHANNELS_LAST: tl.constexpr, RESIDUAL: tl.constexpr,
                   BLOCK_C: tl.constexpr, BLOCK_H: tl.constexpr,
                   BLOCK_W: tl.constexpr):  # fmt: skip
    """``dx = g * y_h * y_w [+ g]`` and what comes back through the two means."""
    last_channel = first_channel + CHANNELS
    for start_channel in range(first_channel, last_channel, BLOCK_C):
        channel = start_channel + tl.arange(0, BLOCK_C)
        column = tl.arange(0, BLOCK_W)
        y_w = column_gates(
            normed_ptr, gn_weight_ptr, gn_bias_ptr, channel, last_channel, column, H, W, C
        )
        mean_w = load_strips(mean_grads_ptr + C * H, channel, last_channel, column, W)
        for start_row in range(first_row, last_row, BLOCK_H):
            channel, row, column, offset, inside = tile_places(
                start_channel, last_channel, start_row, last_row, H, W, C, CHANNELS_LAST,
                BLOCK_C, BLOCK_H, BLOCK_W,
            )  # fmt: skip
            grad = tl.load(grad_ptr + offset, mask=inside, other=0.0, eviction_policy='evict_first')
            y_h = row_gates(
                normed_ptr, gn_weight_ptr, gn_bias_ptr, scale_ptr, channel, last_channel, row, H
            )
            mean_h = load_strips(mean_grads_ptr, channel, last_channel, row, H)
            out = weigh(grad, y_h, y_w, RESIDUAL) + mean_h[:, :, None] + mean_w[:, None, :]
            tl.store(grad_x_ptr + offset, out.to(grad_x_ptr.dtype.element_ty), mask=inside)
