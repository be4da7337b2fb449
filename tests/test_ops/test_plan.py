"""The arithmetic behind the launches: what is cut has to come together again."""

from __future__ import annotations

import itertools

import pytest

from mmela.attentions.ela import VARIANTS
from mmela.ops.fused.plan import (
    CACHE_BYTES,
    MAX_WIDTH,
    PATHS,
    Shape,
    make_plan,
    next_power,
    strip_tile,
    vector,
    weight_tile,
)

MAPS = [(1, 64, 7, 7), (2, 96, 33, 20), (2, 128, 100, 168), (64, 256, 40, 40), (1, 16, 1, 5000)]


def make_shape(images, channels, height, width, name='S', **options):
    variant = VARIANTS[name]
    groups = channels // variant.channels_per_conv_group
    default = dict(itemsize=2, channels_last=False, processors=132)
    return Shape(
        images, channels, height, width,
        kernel_size=variant.kernel_size, groups=groups, num_groups=variant.num_groups,
        **{**default, **options},
    )  # fmt: skip


def every_plan():
    for size, name, last, itemsize, path, backward in itertools.product(
        MAPS, 'TS', (False, True), (2, 4), (None, *PATHS), (False, True)
    ):
        if name == 'T' and size[1] % 32:
            continue
        shape = make_shape(*size, name, channels_last=last, itemsize=itemsize)
        yield shape, make_plan(shape, backward, path), backward
    for last, backward in itertools.product((False, True), (False, True)):
        widest = Shape(1, 2, 3, MAX_WIDTH, 4, last, 3, 1, 1, 132)
        yield widest, make_plan(widest, backward), backward


@pytest.mark.parametrize(
    'name, channels, unit',
    [('S', 64, 8), ('S', 96, 24), ('S', 192, 24), ('L', 144, 72), ('L', 576, 72), ('S', 960, 120),
     ('T', 256, 8), ('B', 256, 16)],
)  # fmt: skip
def test_the_closed_unit_is_the_least_common_multiple_of_the_groups(name, channels, unit):
    assert make_shape(1, channels, 8, 8, name).unit == unit


def test_programs_share_channels_and_rows_without_gap_or_overlap():
    for shape, plan, _ in every_plan():
        for cut in filter(None, (plan.cut, plan.strip_cut)):
            assert shape.channels % cut.channels == 0 and cut.channels % shape.unit == 0
            assert (cut.splits - 1) * cut.split_rows < shape.height
            assert cut.splits * cut.split_rows >= shape.height
        assert plan.path == 'split' or plan.cut.splits == 1


def test_tiles_are_powers_of_two_that_hold_a_row():
    for shape, plan, backward in every_plan():
        sizes = [*plan.cut.tile, *strip_tile(shape, plan.cut, backward)]
        sizes += [*weight_tile(shape, plan.cut), plan.cut.num_warps]
        assert all(size >= 1 and size == next_power(size) for size in sizes)
        assert plan.cut.tile[2] >= shape.width
        assert strip_tile(shape, plan.cut, backward).group >= shape.group
        assert 4 <= plan.cut.num_warps <= 16


def test_a_unit_that_stays_on_chip_takes_one_launch():
    full = make_shape(64, 256, 40, 40, 'T')
    assert full.unit * 40 * 40 * 2 <= CACHE_BYTES
    assert make_plan(full, False).path == 'one'
    assert make_plan(make_shape(64, 256, 400, 400, 'T'), False).path == 'split'


def test_a_map_with_few_units_is_split_until_the_chip_is_full():
    shape = make_shape(1, 128, 200, 304, 'B')
    plan = make_plan(shape, False)
    assert plan.path == 'split'
    assert shape.images * (shape.channels // plan.cut.channels) * plan.cut.splits >= 132


def test_channels_last_programs_read_whole_sectors():
    for shape, plan, _ in every_plan():
        if shape.channels_last:
            assert plan.cut.channels * shape.itemsize >= min(64, shape.channels * shape.itemsize)


@pytest.mark.parametrize('width, expected', [(168, 8), (84, 4), (42, 2), (7, 1), (64, 8)])
def test_vectors_divide_the_width_and_have_16_bytes_at_most(width, expected):
    assert vector(make_shape(1, 64, 8, width)) == expected
    assert vector(make_shape(1, 64, 8, width, itemsize=4)) == min(expected, 4)


@pytest.mark.parametrize('backward', [False, True])
@pytest.mark.parametrize('images', [1, 8, 160])
@pytest.mark.parametrize(
    'size, name',
    [((128, 80, 80), 'T'), ((256, 40, 40), 'T'), ((512, 20, 20), 'T'), ((128, 100, 168), 'B'),
     ((256, 50, 84), 'B'), ((512, 25, 42), 'B'), ((256, 64, 64), 'S'), ((64, 56, 56), 'S')],
)  # fmt: skip
def test_most_places_of_the_tiles_are_on_the_map(size, name, images, backward):
    """The others cost the same instructions; a row has to be a power of two, so 5 / 8 at 80."""
    shape = make_shape(images, *size, name)
    cut = make_plan(shape, backward).cut
    channels, rows, columns = cut.tile
    tiles = sum(
        -(-min(cut.split_rows, shape.height - split * cut.split_rows) // rows)
        for split in range(cut.splits)
    )
    places = -(-cut.channels // channels) * channels * tiles * rows * columns
    assert cut.channels * shape.height * shape.width > 0.5 * places
