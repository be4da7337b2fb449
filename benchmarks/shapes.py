"""The maps that are measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from mmela.errors import UserError

Shape = tuple[int, int, int, int]
#: Minimum size of a large map: larger than any cache.
LARGE_BYTES = 256 * 2**20
_CPU_MAPS: tuple[Shape, ...] = ((2, 256, 100, 136), (2, 256, 56, 56), (8, 64, 80, 80))
#: Network, variant of ELA and map (N, C, H, W), at the batch size of the network's config.
SITES: tuple[tuple[str, str, Shape], ...] = (
    ('YOLOX-S 640', 'T', (8, 128, 80, 80)),
    ('YOLOX-S 640', 'T', (8, 256, 40, 40)),
    ('YOLOX-S 640', 'T', (8, 512, 20, 20)),
    ('Faster R-CNN R50 800x1333', 'B', (2, 128, 100, 168)),
    ('Faster R-CNN R50 800x1333', 'B', (2, 256, 50, 84)),
    ('Faster R-CNN R50 800x1333', 'B', (2, 512, 25, 42)),
    ('DeepLabV3 R50 512', 'S', (4, 128, 64, 64)),
    ('DeepLabV3 R50 512', 'S', (4, 256, 64, 64)),
    ('DeepLabV3 R50 512', 'S', (4, 512, 64, 64)),
)
GROUPS = ('cpu', 'real', 'large')


class Case(NamedTuple):
    """A map and how it is measured.

    Attributes:
        group: One of :data:`GROUPS`, or ``'given'``.
        network: The network that the map comes from.
        variant: Variant of ELA.
        map: (N, C, H, W).
        buffers: Number of maps used in turn. With more than one, the next map is not in the cache;
            with one it may be, as behind a convolution that has just written it.
    """

    group: str
    network: str
    variant: str
    map: Shape
    buffers: int = 1

    @property
    def name(self) -> str:
        """The shape as ``'2x256x100x136'``."""
        return 'x'.join(map(str, self.map))


def find_cases(shapes: Sequence[str], itemsize: int, quick: bool = False) -> list[Case]:
    """Expands the values of ``--shapes``.

    Args:
        shapes: Names of :data:`GROUPS`, or shapes such as ``'2x256x100x136'``, which are measured
            with variant B.
        itemsize: Bytes of an element.
        quick: Whether to take only the first map of each group.

    Raises:
        UserError: If a value is neither.
    """
    cases: list[Case] = []
    for word in shapes:
        found = _group(word, itemsize) if word in GROUPS else [_given(word)]
        cases += found[:1] if quick else found
    return cases


def enlarge(shape: Shape, itemsize: int) -> Shape:
    """Raises N until a tensor has at least :data:`LARGE_BYTES`.

    Args:
        shape: (N, C, H, W).
        itemsize: Bytes of an element.
    """
    _, channels, height, width = shape
    images = -(-LARGE_BYTES // (channels * height * width * itemsize))
    return max(images, shape[0]), channels, height, width


def _group(name: str, itemsize: int) -> list[Case]:
    if name == 'cpu':
        return [Case(name, 'CPU map', 'B', shape) for shape in _CPU_MAPS]
    if name == 'real':
        return [Case(name, *site) for site in SITES]
    return [
        Case(name, network, variant, enlarge(shape, itemsize), buffers=2)
        for network, variant, shape in SITES
    ]


def _given(word: str) -> Case:
    if not re.fullmatch(r'[1-9]\d*(x[1-9]\d*){3}', word):
        raise UserError(
            f'--shapes: expected {", ".join(GROUPS)} or NxCxHxW such as 2x256x100x136, '
            f"got '{word}'."
        )
    images, channels, height, width = map(int, word.split('x'))
    return Case('given', 'given', 'B', (images, channels, height, width))
