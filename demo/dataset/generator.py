"""Writes the demo data set to a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np

from demo.dataset import formats
from demo.dataset.scenes import render_scene

# Counts up when the same seed gives other pictures.
VERSION = 1
_PARAMETERS_FILE = 'shapes.json'


class DatasetExistsError(FileExistsError):
    """The folder holds something else than the data set that was asked for."""


def generate(
    root: str | Path, seed: int = 0, num_train: int = 800, num_val: int = 200, size: int = 192
) -> Path:
    """Renders the data set into a folder, both as COCO and as PASCAL VOC segmentation.

    The same arguments give the same bytes, and a scene depends on ``seed``, its subset and its
    number alone. A folder that already holds this very data set is left as it is::

        root/
        ├── annotations/instances_{train,val}.json     COCO; file names are in JPEGImages/
        ├── ImageSets/Segmentation/{train,val}.txt     VOC
        ├── JPEGImages/{train,val}_000000.jpg
        ├── SegmentationClass/{train,val}_000000.png   palette PNG, 0 is background
        └── shapes.json                                the arguments

    Args:
        root: The folder to make.
        seed: Seed of all scenes, not negative.
        num_train: Number of training scenes.
        num_val: Number of validation scenes.
        size: Side of the square pictures in pixels.

    Returns:
        ``root``.

    Raises:
        DatasetExistsError: If ``root`` holds other files or a data set of other arguments.
        ValueError: If an argument is out of range.
    """
    if seed < 0 or num_train < 1 or num_val < 1:
        raise ValueError(
            f'seed must not be negative and each subset needs a scene, but got '
            f'seed={seed}, num_train={num_train}, num_val={num_val}.'
        )
    if size < 64:
        raise ValueError(f'size must be at least 64 pixels, but got {size}.')
    root = Path(root)
    parameters = dict(version=VERSION, seed=seed, num_train=num_train, num_val=num_val, size=size)
    if _holds(root, parameters):
        return root
    # Written beside it and renamed at the end: a folder that has the name is complete.
    unfinished = root.with_name(root.name + '.unfinished')
    shutil.rmtree(unfinished, ignore_errors=True)
    for folder in ('annotations', 'ImageSets/Segmentation', 'JPEGImages', 'SegmentationClass'):
        (unfinished / folder).mkdir(parents=True)
    for index, (subset, count) in enumerate((('train', num_train), ('val', num_val))):
        _write_subset(unfinished, subset, count, (seed, index), size)
    (unfinished / _PARAMETERS_FILE).write_text(json.dumps(parameters) + '\n')
    unfinished.replace(root)
    return root


def _holds(root: Path, parameters: dict) -> bool:
    """Whether the folder holds this data set; raises where it holds something else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / _PARAMETERS_FILE).read_text())
    except (OSError, ValueError):
        raise DatasetExistsError(
            f'{root} exists and is no data set of ours: name another folder.'
        ) from None
    if found != parameters:
        raise DatasetExistsError(
            f'{root} holds a data set made with {found}, but {parameters} was '
            'asked for: remove the folder or name another.'
        )
    return True


def _write_subset(root: Path, subset: str, count: int, seed: tuple[int, int], size: int) -> None:
    images: list[dict] = []
    annotations: list[dict] = []
    for index in range(count):
        scene = render_scene(np.random.default_rng([*seed, index]), size)
        name = f'{subset}_{index:06d}'
        cv2.imwrite(
            str(root / 'JPEGImages' / f'{name}.jpg'), scene.image, [cv2.IMWRITE_JPEG_QUALITY, 90]
        )
        formats.write_palette_png(
            root / 'SegmentationClass' / f'{name}.png', formats.semantic_map(scene.instances, size)
        )
        images.append(dict(id=index + 1, file_name=f'{name}.jpg', width=size, height=size))
        for instance in scene.instances:
            annotations.append(formats.coco_annotation(instance, len(annotations) + 1, index + 1))
    coco = dict(images=images, annotations=annotations, categories=formats.coco_categories())
    (root / 'annotations' / f'instances_{subset}.json').write_text(json.dumps(coco))
    names = [Path(image['file_name']).stem for image in images]
    (root / 'ImageSets' / 'Segmentation' / f'{subset}.txt').write_text('\n'.join(names) + '\n')
