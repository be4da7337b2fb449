"""The generated data set of the demo, as COCO and as PASCAL VOC segmentation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

from demo.scenes import CLASSES, PALETTE, Instance, render_scene

#: Increases when the same seed gives different images.
VERSION = 1
_PARAMETERS_FILE = 'shapes.json'


class DatasetExistsError(FileExistsError):
    """The folder holds something other than the requested data set."""


def generate(
    root: str | Path, seed: int = 0, num_train: int = 800, num_val: int = 200, size: int = 192
) -> Path:
    """Renders the data set into a folder, both as COCO and as PASCAL VOC segmentation.

    The same arguments give the same files, and a scene depends only on ``seed``, its subset and its
    index. A folder that already holds this data set is left as it is::

        root/
        ├── annotations/instances_{train,val}.json     COCO; file names are in JPEGImages/
        ├── ImageSets/Segmentation/{train,val}.txt     VOC
        ├── JPEGImages/{train,val}_000000.jpg
        ├── SegmentationClass/{train,val}_000000.png   palette PNG, 0 is background
        └── shapes.json                                the arguments

    Args:
        root: The folder to create.
        seed: Seed of all scenes, not negative.
        num_train: Number of training scenes.
        num_val: Number of validation scenes.
        size: Side of the square images in pixels, at least 64.

    Returns:
        ``root``.

    Raises:
        DatasetExistsError: If ``root`` holds other files or a data set with other arguments.
        ValueError: If an argument is out of range.
    """
    if seed < 0 or num_train < 1 or num_val < 1 or size < 64:
        raise ValueError(
            'expected seed >= 0, num_train >= 1, num_val >= 1 and size >= 64, got '
            f'seed={seed}, num_train={num_train}, num_val={num_val}, size={size}.'
        )
    root = Path(root)
    parameters = dict(version=VERSION, seed=seed, num_train=num_train, num_val=num_val, size=size)
    if _holds(root, parameters):
        return root
    # Written to another folder and renamed at the end, so that an existing root is complete.
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
    """Whether the folder holds this data set; raises if it holds something else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / _PARAMETERS_FILE).read_text())
    except (OSError, ValueError):
        raise DatasetExistsError(
            f'{root} exists and is not a generated data set; choose another folder.'
        ) from None
    if found != parameters:
        raise DatasetExistsError(
            f'{root}: expected a data set with {parameters}, got one with {found}; remove the '
            'folder or choose another.'
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
        _write_label_map(root / 'SegmentationClass' / f'{name}.png', scene.instances, size)
        images.append(dict(id=index + 1, file_name=f'{name}.jpg', width=size, height=size))
        for instance in scene.instances:
            annotations.append(_coco_annotation(instance, len(annotations) + 1, index + 1))
    categories = [dict(id=i, name=name, supercategory='shape') for i, name in enumerate(CLASSES, 1)]
    coco = dict(images=images, annotations=annotations, categories=categories)
    (root / 'annotations' / f'instances_{subset}.json').write_text(json.dumps(coco))
    names = [Path(image['file_name']).stem for image in images]
    (root / 'ImageSets' / 'Segmentation' / f'{subset}.txt').write_text('\n'.join(names) + '\n')


def _coco_annotation(instance: Instance, annotation_id: int, image_id: int) -> dict:
    """One entry of ``annotations``; box, area and segmentation describe the visible pixels.

    The segmentation is an RLE because polygons cannot describe the hole of a ring.
    """
    encoded = mask_utils.encode(np.asfortranarray(instance.mask, dtype=np.uint8))
    return dict(
        id=annotation_id,
        image_id=image_id,
        category_id=instance.label + 1,
        bbox=[int(value) for value in mask_utils.toBbox(encoded)],
        area=int(mask_utils.area(encoded)),
        segmentation=dict(size=encoded['size'], counts=encoded['counts'].decode()),
        iscrowd=0,
    )


def _write_label_map(path: Path, instances: list[Instance], size: int) -> None:
    """Writes the class of every pixel as VOC does: a palette PNG, 0 is background."""
    labels = np.zeros((size, size), np.uint8)
    for instance in instances:
        labels[instance.mask] = instance.label + 1
    image = Image.fromarray(labels)
    image.putpalette(np.ravel(PALETTE).tolist())
    image.save(path)
