"""The three kernels. What they compute stands in `maps` and `gates`; here is who does it when.

A program owns some channels of one image, whole closed units of them, and a range of rows. Each
kernel has its steps as switches, so that `plan` can put them into one launch or into several:

- all steps in one launch, where the unit stays on chip: the barrier between the steps is then one
  within a program, and the map's second read comes from the cache that the first has filled. Memory
  sees one read and one write forward, two reads and one write backward.
- first the sums in a launch of their own, where a map must be split over several programs to fill
  the chip or is too large to stay: the launch is the barrier. The programs that follow run in the
  reverse order, because what was read last is what the L2 cache still has.

No result depends on the order in which programs run: there are no atomics.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmela.ops.fused.gates import (
    gates_backward,
    gates_forward,
    means_backward,
    weight_backward,
)
from mmela.ops.fused.maps import map_gate_grads, map_input_grad, map_means, map_product
from mmela.ops.fused.strips import add_partials

# Sizes that differ from batch to batch: a kernel of their own for each would be compiled forever.
SIZES = ['images', 'H', 'w_vectors', 'splits', 'split_rows', 'partials']


@triton.jit
def program_share(splits, split_rows, H, BLOCKS: tl.constexpr, REVERSED: tl.constexpr):
    """Image, block of channels, split and rows of this program."""
    program = tl.program_id(0)
    if REVERSED:
        program = tl.num_programs(0) - 1 - program
    split = program % splits
    block = (program // splits) % BLOCKS
    image = program // (splits * BLOCKS)
    first_row = split * split_rows
    return image, block, split, first_row, tl.minimum(first_row + split_rows, H)


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(x_ptr, out_ptr, strips_ptr, part_ptr, weight_ptr, gn_weight_ptr, gn_bias_ptr,
                   scale_ptr, images, H, w_vectors, splits, split_rows, partials, eps,
                   C: tl.constexpr, CHANNELS: tl.constexpr, GROUP: tl.constexpr, FAN: tl.constexpr,
                   K: tl.constexpr, VECTOR: tl.constexpr, CHANNELS_LAST: tl.constexpr,
                   RESIDUAL: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_H: tl.constexpr,
                   BLOCK_W: tl.constexpr, BLOCK_GROUPS: tl.constexpr, BLOCK_GROUP: tl.constexpr,
                   BLOCK_STRIP: tl.constexpr, ONE_TILE: tl.constexpr, MEANS: tl.constexpr,
                   GATES: tl.constexpr, PRODUCT: tl.constexpr):  # fmt: skip
    """The layer: means, gates and product, or some of these steps.

    ``strips_ptr`` is the room of all images' means, of their normalised strips, and of one number
    for each group and axis. Where a unit's rows are split over programs, the means over H lie in
    ``part_ptr``, a part for each of the ``partials``; otherwise it is None.
    """
    W = w_vectors * VECTOR  # so the compiler knows the divisor, and a thread moves 16 bytes
    image, block, split, first_row, last_row = program_share(
        splits, split_rows, H, C // CHANNELS, not MEANS
    )
    start = image.to(tl.int64) * C * H * W  # an image's offsets fit 32 bits, a batch's may not
    x_ptr += start
    out_ptr += start
    means_ptr = strips_ptr + image.to(tl.int64) * C * (H + W)
    all_strips = images.to(tl.int64) * C * (H + W)
    normed_ptr = means_ptr + all_strips
    rstd_ptr = strips_ptr + 2 * all_strips + image * (2 * C // GROUP)
    first_channel = block * CHANNELS

    if MEANS:
        columns_ptr = means_ptr + C * H
        if part_ptr is not None:
            columns_ptr = part_ptr + (split * images + image).to(tl.int64) * C * W
        map_means(
            x_ptr, means_ptr, columns_ptr, first_channel, first_row, last_row, H, W,
            C, CHANNELS, CHANNELS_LAST, BLOCK_C, BLOCK_H, BLOCK_W,
        )  # fmt: skip
        tl.debug_barrier()

    if GATES:
        if part_ptr is not None:
            add_partials(
                part_ptr, means_ptr, first_channel, image, images, H, W, partials,
                C, CHANNELS, 4, 1024,
            )  # fmt: skip
            tl.debug_barrier()
        gates_forward(
            means_ptr, normed_ptr, rstd_ptr, weight_ptr, first_channel, H, W, eps,
            C, CHANNELS, GROUP, FAN, K, BLOCK_GROUPS, BLOCK_GROUP, BLOCK_STRIP, ONE_TILE,
        )  # fmt: skip
        tl.debug_barrier()

    if PRODUCT:
        map_product(
            x_ptr, out_ptr, normed_ptr, gn_weight_ptr, gn_bias_ptr, scale_ptr, first_channel,
            first_row, last_row, H, W, C, CHANNELS, CHANNELS_LAST, RESIDUAL,
            BLOCK_C, BLOCK_H, BLOCK_W,
        )  # fmt: skip


@triton.jit(do_not_specialize=SIZES)
def backward_kernel(grad_ptr, x_ptr, grad_x_ptr, strips_ptr, scratch_ptr, grads_ptr, weight_ptr,
                    gn_weight_ptr, gn_bias_ptr, scale_ptr, images, H, w_vectors, splits, split_rows,
                    partials, C: tl.constexpr, CHANNELS: tl.constexpr,
                    GROUP: tl.constexpr, FAN: tl.constexpr, K: tl.constexpr, VECTOR: tl.constexpr,
                    CHANNELS_LAST: tl.constexpr, RESIDUAL: tl.constexpr, BLOCK_C: tl.constexpr,
                    BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_GROUPS: tl.constexpr,
                    BLOCK_GROUP: tl.constexpr, BLOCK_STRIP: tl.constexpr,
                    BLOCK_ROWS: tl.constexpr, BLOCK_TAPS: tl.constexpr, BLOCK_ALONG: tl.constexpr,
                    PARTIAL: tl.constexpr, SUMS: tl.constexpr, GATES: tl.constexpr,
                    PRODUCT: tl.constexpr):  # fmt: skip
    """The layer's gradients: sums for the gates, through the gates, the map's gradient.

    ``scratch_ptr`` is the room of three sets of strips: the gradients of the gates, of the
    convolution's output, and of the means; behind them, where PARTIAL, of the ``partials`` parts of
    the gates' gradients along W. Each is written before another reads it and then left alone, so
    programs that share a unit may repeat its strips: they write the same numbers.
    ``grads_ptr`` takes what each image gives to the parameters, ``grad_x_ptr`` the gradient of the
    map; either is None where nobody asks for it.
    """
    W = w_vectors * VECTOR
    image, block, split, first_row, last_row = program_share(
        splits, split_rows, H, C // CHANNELS, not SUMS
    )
    start = image.to(tl.int64) * C * H * W
    grad_ptr += start
    x_ptr += start
    strips = C * (H + W)
    all_strips = images.to(tl.int64) * strips
    means_ptr = strips_ptr + image.to(tl.int64) * strips
    normed_ptr = means_ptr + all_strips
    rstd_ptr = strips_ptr + 2 * all_strips + image * (2 * C // GROUP)
    gate_grads_ptr = scratch_ptr + image.to(tl.int64) * strips
    conv_grads_ptr = gate_grads_ptr + all_strips
    mean_grads_ptr = conv_grads_ptr + all_strips
    part_ptr = scratch_ptr + 3 * all_strips
    first_channel = block * CHANNELS

    if SUMS:
        columns_ptr = gate_grads_ptr + C * H
        if PARTIAL:
            columns_ptr = part_ptr + (split * images + image).to(tl.int64) * C * W
        map_gate_grads(
            x_ptr, grad_ptr, gate_grads_ptr, columns_ptr, normed_ptr, gn_weight_ptr, gn_bias_ptr,
            scale_ptr, first_channel, first_row, last_row, H, W,
            C, CHANNELS, CHANNELS_LAST, BLOCK_C, BLOCK_H, BLOCK_W,
        )  # fmt: skip
        tl.debug_barrier()

    if GATES:
        if PARTIAL:
            add_partials(
                part_ptr, gate_grads_ptr, first_channel, image, images, H, W, partials,
                C, CHANNELS, 4, 1024,
            )  # fmt: skip
            tl.debug_barrier()
        room: tl.constexpr = C * (FAN * K + (2 if scale_ptr is None else 3))
        parameters_ptr = grads_ptr
        if grads_ptr is not None:
            parameters_ptr = grads_ptr + image.to(tl.int64) * room
        gates_backward(
            gate_grads_ptr, conv_grads_ptr, normed_ptr, rstd_ptr, gn_weight_ptr, gn_bias_ptr,
            scale_ptr, parameters_ptr, first_channel, H, W,
            C, CHANNELS, GROUP, FAN, K, BLOCK_GROUPS, BLOCK_GROUP, BLOCK_STRIP,
        )  # fmt: skip
        tl.debug_barrier()
        if grads_ptr is not None:
            weight_backward(
                conv_grads_ptr, means_ptr, parameters_ptr, first_channel, split, splits, H, W,
                C, CHANNELS, FAN, K, BLOCK_ROWS, BLOCK_TAPS, BLOCK_ALONG, PARTIAL,
            )  # fmt: skip
        if grad_x_ptr is not None:
            means_backward(
                conv_grads_ptr, mean_grads_ptr, weight_ptr, first_channel, H, W,
                C, CHANNELS, GROUP, FAN, K, BLOCK_GROUPS, BLOCK_GROUP, BLOCK_STRIP,
            )  # fmt: skip
            tl.debug_barrier()

    if PRODUCT:
        grad_x_ptr += start
        map_input_grad(
            grad_ptr, grad_x_ptr, mean_grads_ptr, normed_ptr, gn_weight_ptr, gn_bias_ptr,
            scale_ptr, first_channel, first_row, last_row, H, W, C, CHANNELS, CHANNELS_LAST,
            RESIDUAL, BLOCK_C, BLOCK_H, BLOCK_W,
        )  # fmt: skip


@triton.jit(do_not_specialize=['images'])
def parameter_kernel(grads_ptr, grad_weight_ptr, grad_gn_weight_ptr, grad_gn_bias_ptr,
                     grad_scale_ptr, images, C: tl.constexpr, WEIGHTS: tl.constexpr,
                     ROOM: tl.constexpr, BLOCK: tl.constexpr,
                     BLOCK_IMAGES: tl.constexpr):  # fmt: skip
    """Adds up over the images, in their order, and hands each parameter its own."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    image = tl.arange(0, BLOCK_IMAGES)
    total = tl.zeros([BLOCK_IMAGES, BLOCK], tl.float32)
    for begin in range(0, images, BLOCK_IMAGES):
        inside = (begin + image < images)[:, None] & (at < ROOM)[None, :]
        place = (begin + image).to(tl.int64)[:, None] * ROOM + at[None, :]
        total += tl.load(grads_ptr + place, mask=inside, other=0.0)
    total = tl.sum(total, 0)
    store_part(grad_weight_ptr, total, at, 0, WEIGHTS)
    store_part(grad_gn_weight_ptr, total, at, WEIGHTS, C)
    store_part(grad_gn_bias_ptr, total, at, WEIGHTS + C, C)
    if grad_scale_ptr is not None:
        store_part(grad_scale_ptr, total, at, WEIGHTS + 2 * C, C)


@triton.jit
def store_part(into_ptr, total, at, FIRST: tl.constexpr, COUNT: tl.constexpr):
    """Stores the stretch of ``total`` that belongs to one parameter, in its dtype."""
    inside = (at >= FIRST) & (at < FIRST + COUNT)
    tl.store(into_ptr + at - FIRST, total.to(into_ptr.dtype.element_ty), mask=inside)
