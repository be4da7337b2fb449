"""Which layers the kernels leave to others, because one program would convolve for too long."""

from __future__ import annotations

import itertools

import pytest

from mmela.attentions.ela import VARIANTS
from mmela.ops.fused.plan import MAX_CONVOLUTION_STEPS, Shape, convolution_steps, unsupported

#: ResNet, YOLOX, necks, and the expanded layers of MobileNetV2.
WIDTHS = (8, 16, 24, 32, 48, 64, 96, 128, 144, 192, 256, 320, 384, 512, 576, 768, 960, 1024, 1280,
          1536, 2048)  # fmt: skip
STRIPS = ((7, 7), (20, 20), (40, 40), (64, 128), (100, 168), (200, 336))


def make_shape(channels, height, width, kernel_size, groups, num_groups):
    return Shape(2, channels, height, width, 2, False, kernel_size, groups, num_groups, 132)


@pytest.mark.parametrize('name', VARIANTS)
def test_every_variant_is_served_at_every_width(name):
    variant, served = VARIANTS[name], 0
    for channels, strips in itertools.product(WIDTHS, STRIPS):
        if channels % variant.num_groups or channels % variant.channels_per_conv_group:
            continue
        groups = channels // variant.channels_per_conv_group
        shape = make_shape(channels, *strips, variant.kernel_size, groups, variant.num_groups)
        assert unsupported(shape) is None, shape
        served += 1
    assert served >= 50


@pytest.mark.parametrize(
    'shape',
    [
        pytest.param(make_shape(256, 40, 40, 5, 1, 16), id='a dense convolution'),
        pytest.param(make_shape(2048, 336, 336, 7, 2048, 1), id='one norm group, a wide map'),
    ],
)
def test_a_program_that_would_convolve_for_too_long_is_refused(shape):
    assert 'too many channels' in unsupported(shape)


@pytest.mark.parametrize(
    'shape, steps',
    [
        # 4096 numbers a tile: 16 strips of each axis and all 40 places; one tile a group.
        (make_shape(256, 40, 40, 5, 1, 16), 256 * 5 * 1 * 8),
        # Two strips of 64 channels, 64 of 336 places: six tiles.
        (make_shape(64, 336, 336, 5, 64, 1), 5 * 11),
        (make_shape(256, 7, 7, 7, 256, 16), 7),
    ],
)
def test_steps_are_taps_times_tiles(shape, steps):
    assert convolution_steps(shape) == steps


def test_the_limit_leaves_the_variants_room_and_dense_convolutions_none():
    variant = VARIANTS['L']
    most = make_shape(144, 200, 336, variant.kernel_size, 18, variant.num_groups)
    dense = make_shape(256, 40, 40, 5, 1, 16)
    assert convolution_steps(most) <= MAX_CONVOLUTION_STEPS < convolution_steps(dense) / 4
