"""Device code on strips: from the means of a map to its gates, and back to their gradients."""

from __future__ import annotations

import triton
import triton.language as tl

from mmela.ops.fused.strips import convolve, group_sums, strip_offset, strip_rows


@triton.jit
def gates_forward(means_ptr, normed_ptr, rstd_ptr, weight_ptr, first_channel, H, W, eps,
                  C: tl.constexpr, CHANNELS: tl.constexpr, GROUP: tl.constexpr, FAN: tl.constexpr,
                  K: tl.constexpr, BLOCK_GROUPS: tl.constexpr, BLOCK_GROUP: tl.constexpr,
                  BLOCK_STRIP: tl.constexpr, ONE_TILE: tl.constexpr):  # fmt: skip
    """Convolves and normalises the strips of some channels, whole units of them.

    Leaves the normalised strips, before weight and bias, and one over the standard deviation of
    each group and axis: all that backward needs of this step. The sigmoid is cheaper to repeat
    where a gate is used than a second set of strips is to keep.
    """
    place = tl.arange(0, BLOCK_STRIP)
    first_group = first_channel // GROUP
    last_group = first_group + CHANNELS // GROUP
    longest = tl.maximum(H, W)
    for start_group in range(first_group, last_group, BLOCK_GROUPS):
        axis, group, member, channel, offset, valid = strip_rows(
            start_group, last_group, H, W, C, GROUP, BLOCK_GROUPS, BLOCK_GROUP
        )
        length = tl.where(axis == 0, H, W)
        count = (GROUP * length).to(tl.float32)
        # Two passes: a variance from a sum of squares would cancel where a mean is far from zero.
        if ONE_TILE:
            inside = valid[:, None] & (place[None, :] < length[:, None])
            u = convolve(
                means_ptr, weight_ptr, axis, channel, valid, length, place, H, W, C, FAN, K, False
            )
            u = tl.where(inside, u, 0.0)
            mean = group_sums(tl.sum(u, 1), BLOCK_GROUPS, BLOCK_GROUP) / count
            u = tl.where(inside, u - mean[:, None], 0.0)
            variance = group_sums(tl.sum(u * u, 1), BLOCK_GROUPS, BLOCK_GROUP) / count
            rstd = 1.0 / tl.sqrt(variance + eps)
            at = offset[:, None] + place[None, :]
            tl.store(normed_ptr + at, u * rstd[:, None], mask=inside)
        else:
            # A group too long for one tile is convolved twice, a stretch at a time: once for its
            # mean and variance, once to be normalised. The sums are taken about the mean of the
            # first stretch, a share 1 / t of all; the true mean lies within sqrt(t) standard
            # deviations of that, so the variance loses no digits that matter.
            centre = tl.zeros([axis.shape[0]], tl.float32)
            sums = tl.zeros([axis.shape[0]], tl.float32)
            squares = tl.zeros([axis.shape[0]], tl.float32)
            for begin in range(0, longest, BLOCK_STRIP):
                along = begin + place
                inside = valid[:, None] & (along[None, :] < length[:, None])
                u = convolve(
                    means_ptr, weight_ptr, axis, channel, valid, length, along, H, W, C, FAN, K,
                    False,
                )  # fmt: skip
                u = tl.where(inside, u, 0.0)
                if begin == 0:
                    share = (GROUP * tl.minimum(length, BLOCK_STRIP)).to(tl.float32)
                    centre = group_sums(tl.sum(u, 1), BLOCK_GROUPS, BLOCK_GROUP) / share
                u = tl.where(inside, u - centre[:, None], 0.0)
                sums += tl.sum(u, 1)
                squares += tl.sum(u * u, 1)
            mean = group_sums(sums, BLOCK_GROUPS, BLOCK_GROUP) / count
            variance = group_sums(squares, BLOCK_GROUPS, BLOCK_GROUP) / count - mean * mean
            mean += centre
            rstd = 1.0 / tl.sqrt(tl.maximum(variance, 0.0) + eps)
            for begin in range(0, longest, BLOCK_STRIP):
                along = begin + place
                inside = valid[:, None] & (along[None, :] < length[:, None])
                u = convolve(
                    means_ptr, weight_ptr, axis, channel, valid, length, along, H, W, C, FAN, K,
                    False,
                )  # fmt: skip
                at = offset[:, None] + along[None, :]
                tl.store(normed_ptr + at, (u - mean[:, None]) * rstd[:, None], mask=inside)
        tl.store(rstd_ptr + axis * (C // GROUP) + group, rstd, mask=valid & (member == 0))


@triton.jit
def load_gate(normed_ptr, gn_weight_ptr, gn_bias_ptr, offset, channel, valid, place, length):
    """Gates (channels, places) of channels whose normalised strips begin at ``offset``."""
    inside = valid[:, None] & (place[None, :] < length)
    normed = tl.load(normed_ptr + offset[:, None] + place[None, :], mask=inside, other=0.0)
    weight = tl.load(gn_weight_ptr + channel, mask=valid, other=0.0).to(tl.float32)
    bias = tl.load(gn_bias_ptr + channel, mask=valid, other=0.0).to(tl.float32)
    return tl.sigmoid(normed * weight[:, None] + bias[:, None])


@triton.jit
def gates_backward(gate_grads_ptr, conv_grads_ptr, normed_ptr, rstd_ptr, gn_weight_ptr, gn_bias_ptr,
                   scale_ptr, grads_ptr, first_channel, H, W, C: tl.constexpr,
                   CHANNELS: tl.constexpr, GROUP: tl.constexpr, FAN: tl.constexpr, K: tl.constexpr,
                   BLOCK_GROUPS: tl.constexpr, BLOCK_GROUP: tl.constexpr,
                   BLOCK_STRIP: tl.constexpr):  # fmt: skip
    """From the gradients of the gates to those of the convolution's output.

    What the parameters of the normalisation and ``scale`` get from this image is left in
    ``grads_ptr``, behind the room of the convolution's weight.
    """
    place = tl.arange(0, BLOCK_STRIP)
    first_group = first_channel // GROUP
    last_group = first_group + CHANNELS // GROUP
    longest = tl.maximum(H, W)
    for start_group in range(first_group, last_group, BLOCK_GROUPS):
        axis, group, member, channel, offset, valid = strip_rows(
            start_group, last_group, H, W, C, GROUP, BLOCK_GROUPS, BLOCK_GROUP
        )
        length = tl.where(axis == 0, H, W)
        weight = tl.load(gn_weight_ptr + channel, mask=valid, other=0.0).to(tl.float32)
        bias = tl.load(gn_bias_ptr + channel, mask=valid, other=0.0).to(tl.float32)
        factor = tl.full([axis.shape[0]], 1.0, tl.float32)
        if scale_ptr is not None:  # it belongs to the gates along H
            scale = tl.load(scale_ptr + channel, mask=valid, other=0.0).to(tl.float32)
            factor = tl.where(axis == 0, scale, 1.0)

        grad_weight = tl.zeros([axis.shape[0]], tl.float32)
        grad_bias = tl.zeros([axis.shape[0]], tl.float32)
        grad_scale = tl.zeros([axis.shape[0]], tl.float32)
        for begin in range(0, longest, BLOCK_STRIP):
            along = begin + place
            inside = valid[:, None] & (along[None, :] < length[:, None])
            at = offset[:, None] + along[None, :]
            grad = tl.load(gate_grads_ptr + at, mask=inside, other=0.0)
            normed = tl.load(normed_ptr + at, mask=inside, other=0.0)
            gate = tl.sigmoid(normed * weight[:, None] + bias[:, None])
            if scale_ptr is not None:
                grad_scale += tl.sum(grad * gate, 1)
            grad = grad * factor[:, None] * gate * (1 - gate)
            grad_weight += tl.sum(grad * normed, 1)
            grad_bias += tl.sum(grad, 1)

        count = (GROUP * length).to(tl.float32)
        mean = group_sums(grad_bias * weight, BLOCK_GROUPS, BLOCK_GROUP) / count
        slope = group_sums(grad_weight * weight, BLOCK_GROUPS, BLOCK_GROUP) / count
        rstd = tl.load(rstd_ptr + axis * (C // GROUP) + group, mask=valid, other=0.0)
        # One element is its own mean and passes nothing on; a fused multiply-add would leave the
        # rounding of its product, times 1 / sqrt(eps).
        rstd = tl.where(count > 1, rstd, 0.0)
        for begin in range(0, longest, BLOCK_STRIP):
            along = begin + place
            inside = valid[:, None] & (along[None, :] < length[:, None])
            at = offset[:, None] + along[None, :]
            grad = tl.load(gate_grads_ptr + at, mask=inside, other=0.0)
            normed = tl.load(normed_ptr + at, mask=inside, other=0.0)
            gate = tl.sigmoid(normed * weight[:, None] + bias[:, None])
            grad = grad * factor[:, None] * gate * (1 - gate) * weight[:, None]
            grad = (grad - mean[:, None] - normed * slope[:, None]) * rstd[:, None]
            tl.store(conv_grads_ptr + at, grad, mask=inside)

        if grads_ptr is not None:
            # Both axes feed the same parameters: add their halves of the rows.
            half: tl.constexpr = BLOCK_GROUPS * BLOCK_GROUP
            into = grads_ptr + C * FAN * K + start_group * GROUP
            row = tl.arange(0, half)
            member = row % BLOCK_GROUP
            behind = row // BLOCK_GROUP
            known = (member < GROUP) & (start_group + behind < last_group)
            into += behind * GROUP + member
            tl.store(into, tl.sum(tl.reshape(grad_weight, [2, half]), 0), mask=known)
            tl.store(into + C, tl.sum(tl.reshape(grad_bias, [2, half]), 0), mask=known)
            if scale_ptr is not None:
                grad_scale = tl.where(axis == 0, grad_scale, 0.0)
                tl.store(into + 2 * C, tl.sum(tl.reshape(grad_scale, [2, half]), 0), mask=known)


@triton.jit
def means_backward(conv_grads_ptr, mean_grads_ptr, weight_ptr, first_channel, H, W,
                   C: tl.constexpr, CHANNELS: tl.constexpr, GROUP: tl.constexpr, FAN: tl.constexpr,
                   K: tl.constexpr, BLOCK_GROUPS: tl.constexpr, BLOCK_GROUP: tl.constexpr,
                   BLOCK_STRIP: tl.constexpr):  # fmt: skip
    """The gradients of the sums behind the means: the transposed convolution, over W or H."""
    place = tl.arange(0, BLOCK_STRIP)
    first_group = first_channel // GROUP
    last_group = first_group + CHANNELS // GROUP
    longest = tl.maximum(H, W)
    for start_group in range(first_group, last_group, BLOCK_GROUPS):
        axis, group, member, channel, offset, valid = strip_rows(
            start_group, last_group, H, W, C, GROUP, BLOCK_GROUPS, BLOCK_GROUP
        )
        length = tl.where(axis == 0, H, W)
        across = tl.where(axis == 0, W, H).to(tl.float32)
        for begin in range(0, longest, BLOCK_STRIP):
            along = begin + place
            inside = valid[:, None] & (along[None, :] < length[:, None])
            grad = convolve(
                conv_grads_ptr, weight_ptr, axis, channel, valid, length, along, H, W, C, FAN, K,
                True,
            )  # fmt: skip
            at = offset[:, None] + along[None, :]
            tl.store(mean_grads_ptr + at, grad / across[:, None], mask=inside)


@triton.jit
def weight_backward(conv_grads_ptr, means_ptr, grads_ptr, first_channel, split, splits, H, W,
                    C: tl.constexpr, CHANNELS: tl.constexpr, FAN: tl.constexpr, K: tl.constexpr,
                    BLOCK_ROWS: tl.constexpr, BLOCK_TAPS: tl.constexpr,
                    BLOCK_ALONG: tl.constexpr, SHARED: tl.constexpr):  # fmt: skip
    """What the convolution's weight gets from this image.

    A tile of (channels, taps, places) is summed over its places once at the end: a sum for each tap
    would cost a round of shuffles each. Where programs share a unit they take turns at its tiles:
    for one alone they are a chain of loads as long as the rest of its work.
    """
    tap_tile = tl.arange(0, BLOCK_TAPS)
    first_row = 0
    step = BLOCK_ROWS
    if SHARED:
        first_row = split * BLOCK_ROWS
        step = splits * BLOCK_ROWS
    for begin_row in range(first_row, CHANNELS, step):
        row = begin_row + tl.arange(0, BLOCK_ROWS)
        known = row < CHANNELS
        channel = tl.where(known, first_channel + row, 0)
        for begin_tap in range(0, FAN * K, BLOCK_TAPS):
            tap = begin_tap + tap_tile
            wanted = known[:, None] & (tap[None, :] < FAN * K)
            source = (channel // FAN * FAN)[:, None] + (tap // K)[None, :]
            shift = (tap % K - K // 2)[None, :, None]
            total = tl.zeros([BLOCK_ROWS, BLOCK_TAPS, BLOCK_ALONG], tl.float32)
            for axis in tl.static_range(2):
                length = W if axis else H
                grads = conv_grads_ptr + strip_offset(axis, channel, H, W, C)
                means = means_ptr + strip_offset(axis, source, H, W, C)
                for begin in range(0, length, BLOCK_ALONG):
                    along = begin + tl.arange(0, BLOCK_ALONG)
                    inside = known[:, None] & (along[None, :] < length)
                    grad = tl.load(grads[:, None] + along[None, :], mask=inside, other=0.0)
                    at = along[None, None, :] + shift
                    inside_means = wanted[:, :, None] & (at >= 0) & (at < length)
                    mean = tl.load(means[:, :, None] + at, mask=inside_means, other=0.0)
                    total += grad[:, None, :] * mean
            into = grads_ptr + channel[:, None] * (FAN * K) + tap[None, :]
            tl.store(into, tl.sum(total, 2), mask=wanted)
