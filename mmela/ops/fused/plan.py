"""Which launches a map gets, and how its work is cut: plain arithmetic, no Triton.

What decides. Everything but the map is vectors, so time is passes over the map, launches, and how
much of the chip has work. The layer falls into closed units of lcm(convolution group, normalisation
group) channels; a program that owns a unit of one image needs nothing from others, and its barriers
are its own. So:

- ``one``: the unit fits the 256 KB of L1 cache and shared memory of a multiprocessor (SM). One
  launch; the second read finds in L1, at worst in L2, what the first has brought. Memory sees one
  read and one write forward, two reads and one write backward.
- ``split``: larger units, or too few of them to fill the chip. The sums are a launch of their own,
  several programs to a unit; then the product, whose programs repeat the small work on the strips
  of their unit where that costs less than a launch, or find it done by a launch between.

A launch costs 2 to 3 microseconds on the device, as much as one SM needs for some 50 KB of a map:
both passes take about 230 instructions a warp for 1 KB of it. So instructions count as much as
memory, and a tile has few places beside the map. To keep memory busy an SM needs some 30 KB on
their way, hence several programs on each, and few registers to a program:
`benchmarks/kernels_sm80_sm90.csv` lists what the compiler gives. The constants were chosen by this
reasoning, not by measurement.
"""

from __future__ import annotations

import math
from typing import NamedTuple

#: The ways to cut the work.
PATHS = ('one', 'split')
#: A unit beyond this does not stay in the 256 KB of L1 cache and shared memory.
CACHE_BYTES = 192 * 1024
#: Where units are fewer than SMs, one program reads its unit through one SM; up to this size that
#: takes less time than a second launch.
LONE_BYTES = 48 * 1024
#: Bytes that neighbouring threads should find side by side: two sectors of a cache line.
COALESCED_BYTES = 64
#: Bytes that one instruction moves at most.
VECTOR_BYTES = 16
#: Bytes that a thread has on their way from a map, or in backward from two.
THREAD_BYTES = 32
#: Bytes of a channel that a tile takes at least, if its share has as many.
RUN_BYTES = 256
#: What a tile costs beside its elements, in elements of a thread: barriers, addresses, sums.
TILE_ELEMENTS = 10
#: Numbers of a tile of strips that a thread holds, forward and backward; more would cost the passes
#: over the map their registers.
STRIP_ELEMENTS = (16, 4)
#: Numbers of a tile of the weight's gradient that a thread holds.
WEIGHT_ELEMENTS = 8
#: Programs on an SM that a split aims at, so that loads of one hide the waits of others.
PROGRAMS_PER_SM = 2
#: Up to this many programs repeat the strips of a unit rather than wait for a launch that does.
REPEATED_STRIPS = 16
#: With more, a thread would be left with 64 registers, and the gates need more.
MAX_WARPS = 16
#: The widest row and the longest kernel that the kernels are made for.
MAX_WIDTH = 8192
MAX_KERNEL_SIZE = 63
#: Steps of the convolution that a program takes one after another, each a round of loads: beyond
#: this, the layer without kernels, whose convolution fills the chip, is faster. The variants of the
#: paper take up to 1,344 (L, 144 channels, 200 x 336); 256 channels in one group, 40 x 40, 10,240.
MAX_CONVOLUTION_STEPS = 1500


class Shape(NamedTuple):
    """What a plan depends on.

    Attributes:
        images: N.
        channels: C.
        height: H.
        width: W.
        itemsize: Bytes of an element of the map.
        channels_last: Memory format.
        kernel_size: Of the convolution.
        groups: Of the convolution.
        num_groups: Of the normalisation.
        processors: SMs of the device.
    """

    images: int
    channels: int
    height: int
    width: int
    itemsize: int
    channels_last: bool
    kernel_size: int
    groups: int
    num_groups: int
    processors: int

    @property
    def fan(self) -> int:
        """Channels in a group of the convolution."""
        return self.channels // self.groups

    @property
    def group(self) -> int:
        """Channels in a group of the normalisation."""
        return self.channels // self.num_groups

    @property
    def unit(self) -> int:
        """Channels that need nothing from the others."""
        return math.lcm(self.fan, self.group)

    @property
    def longest(self) -> int:
        """The length of the longer strips."""
        return max(self.height, self.width)


class Cut(NamedTuple):
    """How a launch cuts the map: programs, their shares, their tiles.

    Attributes:
        channels: Channels of a program, whole units.
        splits: Programs that share the rows of those channels.
        split_rows: Rows of each.
        tile: Powers of two, (channels, rows, columns).
        num_warps: Warps of a program.
    """

    channels: int
    splits: int
    split_rows: int
    tile: tuple[int, int, int]
    num_warps: int


class StripTile(NamedTuple):
    """Powers of two: groups, channels of a group, places along a strip."""

    groups: int
    group: int
    strip: int


class Plan(NamedTuple):
    """The launches of one direction.

    Attributes:
        path: One of :data:`PATHS`.
        cut: Of the launch that does it all, or of those for sums and product.
        strip_cut: Of a launch for the strips alone, where there is one.
    """

    path: str
    cut: Cut
    strip_cut: Cut | None


def unsupported(shape: Shape) -> str | None:
    """Why the kernels cannot serve a map of this shape, as half a sentence; None if they can."""
    if 0 in (shape.images, shape.channels, shape.height, shape.width):
        return 'the map is empty'
    for name, groups in (('convolution', shape.groups), ('normalisation', shape.num_groups)):
        if groups < 1 or shape.channels % groups:
            return f'the groups of the {name} do not divide the channels'
    if shape.channels * shape.height * shape.width >= 2**31:
        return 'one image has 2**31 elements or more'
    if shape.width > MAX_WIDTH:
        return f'the map is wider than {MAX_WIDTH}'
    if shape.kernel_size > MAX_KERNEL_SIZE:
        return f'the kernel size is above {MAX_KERNEL_SIZE}'
    if convolution_steps(shape) > MAX_CONVOLUTION_STEPS:
        return 'a group of the convolution or of the normalisation has too many channels'
    return None


def convolution_steps(shape: Shape) -> int:
    """Steps in which a program of the usual size convolves the strips of one unit, forward."""
    cut = Cut(shape.unit, 1, shape.height, (1, 1, 1), num_warps=8)
    tile = strip_tile(shape, cut, backward=False)
    tiles = _ceil(shape.longest, tile.strip) * _ceil(shape.unit // shape.group, tile.groups)
    return shape.fan * shape.kernel_size * tiles


def make_plan(shape: Shape, backward: bool, path: str | None = None) -> Plan:
    """Chooses the launches of one direction.

    Args:
        shape: See there; one that is not :func:`unsupported`.
        backward: Whether it is the gradients' direction.
        path: Takes this path, whatever the reasons against it: for tests and measurements.
    """
    channels = _block_channels(shape)
    programs = shape.images * (shape.channels // channels)
    size = channels * shape.height * shape.width * shape.itemsize
    if path is None:
        filled = programs >= shape.processors
        path = 'one' if size <= (CACHE_BYTES if filled else LONE_BYTES) else 'split'
    if path == 'one':
        warps = _one_launch_warps(size, programs, shape.processors)
        return Plan(path, _cut(shape, channels, 1, warps, backward), None)

    splits = min(_ceil(PROGRAMS_PER_SM * shape.processors, programs), shape.height)
    cut = _cut(shape, channels, splits, 8, backward)
    if cut.splits <= REPEATED_STRIPS:
        return Plan(path, cut, None)
    # Units one by one: here nothing has to lie side by side, and more programs finish sooner.
    return Plan(path, cut, _cut(shape, shape.unit, 1, 8, backward))


def strip_tile(shape: Shape, cut: Cut, backward: bool) -> StripTile:
    """The tile of strips of a program."""
    group = next_power(shape.group)
    # Twice as many rows: strips along H and along W.
    elements = STRIP_ELEMENTS[1 if backward else 0]  # compilers take no bool for an index
    if backward and shape.fan > 1:
        elements //= 2  # all taps of an input are in work at once
    room = max(cut.num_warps * 32 * elements // (2 * group), 1)
    strip = min(next_power(shape.longest), room)
    return StripTile(min(next_power(cut.channels // shape.group), room // strip), group, strip)


def weight_tile(shape: Shape, cut: Cut) -> tuple[int, int, int]:
    """The tile of the gradient of the convolution's weight: (channels, taps, places)."""
    room = cut.num_warps * 32 * WEIGHT_ELEMENTS
    taps = min(next_power(shape.fan * shape.kernel_size), 64)
    along = min(next_power(shape.longest), 16, room // taps)
    return min(next_power(cut.channels), room // taps // along), taps, along


def vector(shape: Shape) -> int:
    """How many elements of a row may move at once: up to 16 bytes, as a divisor of W.

    A kernel is compiled for each, so there are no more of them than make a difference.
    """
    return math.gcd(shape.width, VECTOR_BYTES // shape.itemsize)


def next_power(number: int) -> int:
    """The smallest power of two that is not below a number."""
    # A compiler that traces this asks once for a range of numbers; with `bit_length` for each.
    power = 1
    while power < number:
        power *= 2
    return power


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _block_channels(shape: Shape) -> int:
    """Whole units that make a program's reads worth their cache lines."""
    unit, channels = shape.unit, shape.channels
    if not shape.channels_last:
        return unit
    # Channels are neighbours here: a unit of a few of them would waste most of each line.
    wanted = COALESCED_BYTES // shape.itemsize
    units = channels // unit
    fitting = (unit * n for n in range(1, units + 1) if units % n == 0)
    return next((block for block in fitting if block >= wanted), channels)


def _one_launch_warps(size: int, programs: int, processors: int) -> int:
    """Warps of a program that owns a unit.

    Many where few programs share an SM, and few where many small ones must be there at once,
    because each spends most of its time waiting.
    """
    if programs < processors:
        return MAX_WARPS
    return 4 if size <= 16 * 1024 else 8 if size <= 64 * 1024 else MAX_WARPS


def _cut(shape: Shape, channels: int, splits: int, warps: int, backward: bool) -> Cut:
    elements = max(THREAD_BYTES // shape.itemsize // (2 if backward else 1), 8)
    rows = _ceil(shape.height, splits)
    width = next_power(shape.width)
    least = width
    if shape.channels_last:
        # A row of the channels that lie side by side; of the widest maps, half of them: one sector.
        least *= min(COALESCED_BYTES // shape.itemsize, next_power(channels))
        if least > MAX_WARPS * 32 * elements:
            least = max(least // 2, width)
    warps = min(max(warps, least // (32 * elements)), MAX_WARPS)
    room = max(warps * 32 * elements, least)
    block, height = _tile(shape, channels, rows, width, warps, room)
    # A split has whole tiles of rows, if it has several.
    rows = _ceil(rows, height) * height
    return Cut(channels, _ceil(shape.height, rows), rows, (block, height, width), warps)


def _tile(
    shape: Shape, channels: int, rows: int, width: int, warps: int, room: int
) -> tuple[int, int]:
    """The channels and rows of the tile that gets through a program's share with least work."""
    most = min(next_power(channels), room // width)

    def work(tile: tuple[int, int]) -> float:
        # Every row of tiles costs as much again for its gates and its sums over H.
        tiles = _ceil(channels, tile[0]) * (_ceil(rows, tile[1]) + 1)
        return tiles * (math.prod(tile) * width / (warps * 32) + TILE_ELEMENTS)

    heights = [1 << n for n in range(next_power(rows).bit_length())]
    if shape.channels_last:
        tiles = [(most, height) for height in heights]  # what lies side by side, then rows
    else:
        # Rows of a channel lie behind one another: memory likes to be read in stretches.
        least = min(RUN_BYTES, rows * shape.width * shape.itemsize)
        long_enough = [h for h in heights if h * shape.width * shape.itemsize >= least]
        tiles = [(min(most, max(room // (width * h), 1)), h) for h in long_enough]
    fitting = [tile for tile in tiles if math.prod(tile) * width <= room]
    return min(fitting or tiles[:1], key=work)
