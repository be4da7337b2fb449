"""The maps that are measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.kernel_resources import SITES
from mmela.errors import UserError

#: A tensor beyond every cache: how large the large maps are at least.
LARGE_BYTES = 256 * 2**20
#: Maps of the targets for the CPU.
_CPU_MAPS = ((2, 256, 100, 136), (2, 256, 56, 56), (8, 64, 80, 80))
GROUPS = ('cpu', 'real', 'large')


class Case(NamedTuple):
    """A map, and how it is measured.

    Attributes:
        group: One of :data:`GROUPS`, or ``'given'``.
        network: Where the map comes from.
        variant: Of ELA.
        map: (N, C, H, W).
        buffers: How many maps take turns, so that the cache does not hold the next one. One means
            that it may, as behind a convolution that has just written it.
    """

    group: str
    network: str
    variant: str
    map: tuple[int, int, int, int]
    buffers: int = 1

    @property
    def name(self) -> str:
        """The shape as ``'2x256x100x136'``."""
        return 'x'.join(map(str, self.map))


def find_cases(shapes: Sequence[str], itemsize: int, quick: bool = False) -> list[Case]:
    """The maps that words of the command line stand for.

    Args:
        shapes: Names of :data:`GROUPS`, or shapes such as ``'2x256x100x136'``, which are taken
            with variant B.
        itemsize: Bytes of an element.
        quick: Whether the first map of each group is enough.

    Raises:
        UserError: If a word is neither.
    """
    cases: list[Case] = []
    for word in shapes:
        found = _group(word, itemsize) if word in GROUPS else [_given(word)]
        cases += found[:1] if quick else found
    return cases


def enlarge(shape: tuple[int, int, int, int], itemsize: int) -> tuple[int, int, int, int]:
    """Raises N until a tensor has :data:`LARGE_BYTES` or more.

    Args:
        shape: (N, C, H, W).
        itemsize: Bytes of an element.
    """
    _, channels, height, width = shape
    images = -(-LARGE_BYTES // (channels * height * width * itemsize))
    return max(images, shape[0]), channels, height, width


def _group(name: str, itemsize: int) -> list[Case]:
    if name == 'cpu':
        return [Case(name, 'targets for the CPU', 'B', shape) for shape in _CPU_MAPS]
    if name == 'real':
        return [Case(name, *site) for site in SITES]
    return [
        Case(name, site.network, site.variant, enlarge(site.map, itemsize), buffers=2)
        for site in SITES
    ]


def _given(word: str) -> Case:
    if not re.fullmatch(r'[1-9]\d*(x[1-9]\d*){3}', word):
        raise UserError(
            f'--shapes takes {", ".join(GROUPS)} or shapes such as 2x256x100x136 (N, C, H, W), and '
            f"'{word}' is neither."
        )
    images, channels, height, width = map(int, word.split('x'))
    return Case('given', 'given', 'B', (images, channels, height, width))
