"""How scenes are written down: COCO annotations and PASCAL VOC segmentation maps."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from demo.dataset.scenes import Instance
from demo.dataset.shapes import CLASSES, PALETTE


def coco_categories() -> list[dict]:
    """The ``categories`` of a COCO file, ids from 1."""
    return [dict(id=i, name=name, supercategory='shape') for i, name in enumerate(CLASSES, 1)]


def coco_annotation(instance: Instance, annotation_id: int, image_id: int) -> dict:
    """One entry of a COCO file's ``annotations``.

    Box, area and segmentation all describe the visible pixels. The segmentation is an
    uncompressed RLE, because polygons cannot say where a ring is open.
    """
    rows, columns = np.any(instance.mask, axis=1), np.any(instance.mask, axis=0)
    top, left = int(np.argmax(rows)), int(np.argmax(columns))
    height = len(rows) - int(np.argmax(rows[::-1])) - top
    width = len(columns) - int(np.argmax(columns[::-1])) - left
    return dict(
        id=annotation_id,
        image_id=image_id,
        category_id=instance.label + 1,
        bbox=[left, top, width, height],
        area=int(instance.mask.sum()),
        segmentation=dict(size=list(instance.mask.shape), counts=run_lengths(instance.mask)),
        iscrowd=0,
    )


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's run lengths of a mask: column by column, beginning with a run of zeros.

    Examples:
        >>> run_lengths(np.array([[False, True], [False, True]]))
        [2, 2]
        >>> run_lengths(np.array([[True, False], [True, False]]))
        [0, 2, 2]
    """
    pixels = mask.ravel(order='F')
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [pixels.size]])).tolist()
    return [0, *runs] if pixels[0] else runs


def semantic_map(instances: list[Instance], size: int) -> np.ndarray:
    """The class of every pixel, uint8 (size, size): 0 is background, classes count from 1."""
    labels = np.zeros((size, size), np.uint8)
    for instance in instances:
        labels[instance.mask] = instance.label + 1
    return labels


def write_palette_png(path: Path, labels: np.ndarray) -> None:
    """Writes a label map as PASCAL VOC does, a PNG whose palette shows the classes.

    OpenCV writes no palettes, and a PNG of one is four chunks.

    Args:
        path: The file to write.
        labels: uint8 of shape (H, W).
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack('>I', len(data)) + body + struct.pack('>I', zlib.crc32(body))

    height, width = labels.shape
    # Every row begins with its filter type, 0 for none.
    rows = np.pad(labels, ((0, 0), (1, 0))).tobytes()
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 3, 0, 0, 0))
        + chunk(b'PLTE', np.array(PALETTE, np.uint8).tobytes())
        + chunk(b'IDAT', zlib.compress(rows))
        + chunk(b'IEND', b'')
    )
