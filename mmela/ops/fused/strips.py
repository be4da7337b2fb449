"""Device code on strips: how they lie, their sums over groups, their convolution.

The strips of an image lie behind one another, those along H of all channels and then those along W,
``C * (H + W)`` numbers of float32. A tile of strips has one strip a row: the rows of whole
normalisation groups, first along H, then along W. So one convolution and one normalisation serve
both axes at once, and a program waits for memory once rather than twice.

Programs pass strips from one step to the next through global memory (they stay in L1), because the
convolution needs neighbours that other threads hold: a barrier stands between the steps.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def strip_rows(first_group, last_group, H, W, C: tl.constexpr, GROUP: tl.constexpr,
               BLOCK_GROUPS: tl.constexpr, BLOCK_GROUP: tl.constexpr):  # fmt: skip
    """The rows of a tile: axis (0 along H), channel, offset, length, and whether there is one."""
    row = tl.arange(0, 2 * BLOCK_GROUPS * BLOCK_GROUP)
    axis = row // (BLOCK_GROUPS * BLOCK_GROUP)
    group = first_group + (row // BLOCK_GROUP) % BLOCK_GROUPS
    member = row % BLOCK_GROUP
    valid = (member < GROUP) & (group < last_group)
    channel = tl.where(valid, group * GROUP + member, 0)
    return axis, group, member, channel, strip_offset(axis, channel, H, W, C), valid


@triton.jit
def strip_offset(axis, channel, H, W, C: tl.constexpr):
    """Where the strip of a channel begins among the strips of its image."""
    return tl.where(axis == 0, channel * H, C * H + channel * W)


@triton.jit
def group_sums(rows, BLOCK_GROUPS: tl.constexpr, BLOCK_GROUP: tl.constexpr):
    """Replaces each row's number by the sum over the rows of its group and axis."""
    sums = tl.sum(tl.reshape(rows, [2 * BLOCK_GROUPS, BLOCK_GROUP]), 1)
    sums = tl.broadcast_to(sums[:, None], [2 * BLOCK_GROUPS, BLOCK_GROUP])
    return tl.reshape(sums, [2 * BLOCK_GROUPS * BLOCK_GROUP])


@triton.jit
def add_partials(part_ptr, strips_ptr, first_channel, image, images, H, W, partials,
                 C: tl.constexpr, CHANNELS: tl.constexpr, BLOCK_PARTS: tl.constexpr,
                 BLOCK: tl.constexpr):  # fmt: skip
    """Adds up the strips along W that the splits of a map left, in the order of the splits."""
    for begin in range(0, CHANNELS * W, BLOCK):
        place = begin + tl.arange(0, BLOCK)
        inside = place < CHANNELS * W
        place += first_channel * W
        total = tl.zeros([BLOCK_PARTS, BLOCK], tl.float32)
        # Several parts at once: their loads wait for memory together.
        for first in range(0, partials, BLOCK_PARTS):
            part = first + tl.arange(0, BLOCK_PARTS)
            start = (part * images + image).to(tl.int64) * C * W
            known = inside[None, :] & (part < partials)[:, None]
            total += tl.load(part_ptr + start[:, None] + place[None, :], mask=known, other=0.0)
        tl.store(strips_ptr + C * H + place, tl.sum(total, 0), mask=inside)


@triton.jit
def tap_product(strips, weights, tap, valid, length, place, K: tl.constexpr,
                TRANSPOSED: tl.constexpr):  # fmt: skip
    """One tap of a convolution: a weight for each row, times the row's strip, shifted."""
    at = place[None, :] + (K // 2 - tap if TRANSPOSED else tap - K // 2)
    inside = valid[:, None] & (at >= 0) & (at < length[:, None])
    neighbours = tl.load(strips[:, None] + at, mask=inside, other=0.0)
    weight = tl.load(weights + tap, mask=valid, other=0.0).to(tl.float32)
    return weight[:, None] * neighbours


@triton.jit
def convolve(strips_ptr, weight_ptr, axis, channel, valid, length, place, H, W, C: tl.constexpr,
             FAN: tl.constexpr, K: tl.constexpr, TRANSPOSED: tl.constexpr):  # fmt: skip
    """A tile of the grouped convolution of strips, or of its transpose.

    FAN is the number of channels in a group of the convolution. The transpose runs over the outputs
    of the group instead of its inputs, and over the kernel backwards.
    """
    total = tl.zeros([channel.shape[0], place.shape[0]], tl.float32)
    first = channel // FAN * FAN
    for member in range(FAN):
        source = first + member
        strips = strips_ptr + strip_offset(axis, source, H, W, C)
        if TRANSPOSED:
            weights = weight_ptr + (source * FAN + channel - first) * K
        else:
            weights = weight_ptr + (channel * FAN + member) * K
        if FAN > 1 and K < 10:
            # All taps of an input at once: a third of the instructions, and their loads hide one
            # another. One input alone has wider tiles, for which registers would not do.
            for tap in tl.static_range(K):
                total += tap_product(strips, weights, tap, valid, length, place, K, TRANSPOSED)
        else:
            for tap in range(K):
                total += tap_product(strips, weights, tap, valid, length, place, K, TRANSPOSED)
    return total
