"""How many kernels are compiled where the size of the map changes from batch to batch."""

from __future__ import annotations

import itertools

import pytest

from mmela.attentions.ela import VARIANTS
from mmela.ops.fused import availability
from mmela.ops.fused.plan import Shape

pytest.importorskip('triton', reason='the fused kernels need Triton')
if availability.toolchain_fault():
    pytest.skip(availability.toolchain_fault(), allow_module_level=True)

from mmela.ops.fused import launch  # noqa: E402

#: Channels and stride of the stages that get attention in the shipped configs.
STAGES = ((128, 8), (256, 16), (512, 32))


def kernels(name, images, sizes):
    """What Triton tells kernels apart by, over all maps of a training on an H100."""
    variant, found = VARIANTS[name], set()
    for (height, width), (channels, stride) in itertools.product(sizes, STAGES):
        shape = Shape(
            images, channels, height // stride, width // stride, 2, False,
            variant.kernel_size, channels // variant.channels_per_conv_group, variant.num_groups,
            132,
        )  # fmt: skip
        forward = launch._prepare_forward(shape, False, None)
        backward = launch._prepare_backward(shape, False, True, None)
        for prepared in (forward, backward):
            for each in prepared.launches:
                parts = prepared.partials > 0  # whether a pointer is None
                found.add((parts, *sorted(each.constants.items())))
        room = channels * (shape.fan * shape.kernel_size + 2)
        found.add(tuple(launch._prepare_parameters(shape, room).constants.items()))
    return found


def test_faster_rcnn_with_images_of_any_aspect_ratio():
    """Its batches are padded to the larger of two images: any two sides from 800 to 1344."""
    sides = range(800, 1345, 32)
    sizes = list(itertools.product(sides, sides))
    assert len(sizes) * len(STAGES) * 2 == 1944  # maps and directions: none has its own kernels
    assert len(kernels('B', 2, sizes)) == 106


def test_yolox_with_its_sizes_of_every_tenth_batch():
    sizes = [(side, side) for side in range(480, 801, 32)]
    assert len(kernels('T', 8, sizes)) == 39
