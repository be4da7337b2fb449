"""PASCAL VOC detection annotations (XML) as COCO annotations (JSON)."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from mmela.errors import UserError, did_you_mean
from pascal_voc.checks import broken_images, make_folder, require_files
from pascal_voc.toolbox import load_converter
from pascal_voc.voc_lists import ImageSet, find_folders, plan_files


class CocoFile(NamedTuple):
    """A COCO file that was written."""

    path: Path
    images: int
    boxes: int  #: all boxes
    difficult: int  #: boxes marked as difficult, which COCO calls crowd
    notes: tuple[str, ...]  #: what was left out, and warnings


def voc_to_coco(
    source: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
) -> list[CocoFile]:
    """Converts every list of a VOC devkit, or of a folder of custom data in VOC layout.

    MMDetection's ``VOCDataset`` reads the XML and its converter ``pascal_voc.py`` writes the JSON,
    so training on either sees the same boxes. (The converter's own reader fails on coordinates with
    a decimal point, which VOC2012 has.) Two things differ: annotation ids start at 1, because
    pycocotools treats a match with id 0 as no match; and boxes without area inside the image are
    left out, because MMDetection skips them in training and counts them as missed in evaluation.

    Args:
        source: ``VOCdevkit`` with ``VOC2007``, ``VOC2012`` or both: files are named
            ``voc07_trainval.json``, ``voc12_...``, ``voc0712_...``, images by their path below
            ``source``. Or a folder with ``Annotations``, ``ImageSets/Main`` and ``JPEGImages``:
            files are named ``instances_train.json``, images by their bare names.
        out_dir: Folder of the files; None means ``annotations`` in ``source``.
        classes: Class names in the order of their ids; None means the 20 of VOC.

    Returns:
        The files.

    Raises:
        UserError: If folders, lists, annotations or images are missing or cannot be read, if there
            are other classes than the 20 of VOC and ``classes`` is None, or if ``classes`` has a
            name that no annotation has.
    """
    source = Path(source)
    folders = find_folders(source)
    files = plan_files(folders)
    sets = {image_set.path: image_set for members in files.values() for image_set in members}
    for image_set in sets.values():
        require_files(image_set.xml_files, 'annotations', 'unpack the data set again')
        require_files(image_set.images, 'images', 'each XML file needs one of its name')
    counts = {p: _class_names(p) for p in {p for s in sets.values() for p in s.xml_files}}
    broken = set(broken_images({p for s in sets.values() for p in s.images}))
    converter: Any = load_converter('mmdet', 'pascal_voc.py')
    if classes is None:
        classes = tuple(converter.voc_classes())
        _check_voc_classes(sum(counts.values(), Counter()), classes)
    else:
        _check_own_classes(sum(counts.values(), Counter()), classes)

    target = source / 'annotations' if out_dir is None else Path(out_dir)
    make_folder(target)
    base = source / 'JPEGImages' if '' in folders else source
    written = []
    for name, members in files.items():
        empty: list[str] = []
        annotations = [
            _annotation(info, base, classes, empty)
            for image_set in members
            for info in _read(image_set, classes)
        ]
        coco = _to_coco(converter, annotations, classes)
        (target / name).write_text(json.dumps(coco), encoding='utf-8')
        crowds = sum(item['iscrowd'] for item in coco['annotations'])
        notes = _notes(members, counts, classes, empty, broken)
        written.append(
            CocoFile(target / name, len(coco['images']), len(coco['annotations']), crowds, notes)
        )
    return written


def _class_names(path: Path) -> Counter[str]:
    """Number of objects of each class in an annotation file."""
    try:
        objects = ElementTree.parse(path).getroot().findall('object')
    except ElementTree.ParseError as error:
        raise UserError(f'{path} is not an XML file or is truncated ({error}).') from error
    names = [item.findtext('name') for item in objects if item.find('bndbox') is not None]
    if len(names) < len(objects) or not all(names):
        raise UserError(f"{path} has an object without 'name' or 'bndbox'.")
    return Counter(name for name in names if name)


def _check_voc_classes(counts: Counter[str], classes: Sequence[str]) -> None:
    strangers = [name for name in counts if name not in classes]
    if strangers:
        found = ', '.join(f'{name} ({n})' for name, n in counts.most_common(10))
        raise UserError(
            f'expected the 20 classes of VOC, got {found}; for custom data set '
            f'--classes {" ".join(sorted(counts))}'
        )


def _check_own_classes(counts: Counter[str], classes: Sequence[str]) -> None:
    unknown = [name for name in classes if name not in counts]
    if unknown:
        separator = (
            ' Separate the names with spaces.' if any(',' in name for name in unknown) else ''
        )
        raise UserError(
            f'--classes: expected some of {", ".join(sorted(counts))}, got '
            f'{", ".join(unknown)}' + did_you_mean(unknown[0], counts) + separator
        )


def _to_coco(
    converter: Any, annotations: list[dict[str, Any]], classes: Sequence[str]
) -> dict[str, Any]:
    coco: dict[str, Any] = converter.cvt_to_coco_json(annotations)
    coco['categories'] = [
        dict(id=index, name=name, supercategory='none') for index, name in enumerate(classes)
    ]
    for item in coco['annotations']:
        item['id'] += 1
    return coco


def _read(image_set: ImageSet, classes: Sequence[str]) -> list[dict[str, Any]]:
    from mmdet.datasets import XMLDataset

    dataset = XMLDataset(
        data_root=str(image_set.folder),
        ann_file=str(image_set.path.relative_to(image_set.folder)),
        metainfo=dict(classes=tuple(classes)),
        data_prefix=dict(sub_data_root=''),
        test_mode=True,
        lazy_init=True,
    )
    try:
        infos: list[dict[str, Any]] = dataset.load_data_list()
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f'an annotation of {image_set.path} is invalid: a coordinate or size is missing or not '
            f'a number ({error}).'
        ) from error
    # XMLDataset takes every image for a .jpg.
    return [
        {**info, 'img_path': str(image)}
        for info, image in zip(infos, image_set.images, strict=True)
    ]


def _annotation(
    info: dict[str, Any], base: Path, classes: Sequence[str], empty: list[str]
) -> dict[str, Any]:
    """One image in the format of the converter; boxes without area are added to ``empty``."""
    import numpy as np

    kept = []
    for item in info['instances']:
        x1, y1, x2, y2 = item['bbox']
        wide = min(x2, info['width']) - max(x1, 0)
        if wide > 0 and min(y2, info['height']) - max(y1, 0) > 0:
            kept.append(item)
        else:
            empty.append(f'{classes[item["bbox_label"]]} in {info["img_id"]}')
    ann: dict[str, Any] = {}
    for ending, flag in (('', 0), ('_ignore', 1)):
        items = [item for item in kept if item['ignore_flag'] == flag]
        boxes = [item['bbox'] for item in items]
        ann[f'bboxes{ending}'] = np.array(boxes, np.float32).reshape(-1, 4)
        ann[f'labels{ending}'] = np.array([item['bbox_label'] for item in items], np.int64)
    name = Path(os.path.relpath(info['img_path'], base)).as_posix()
    return dict(filename=name, width=info['width'], height=info['height'], ann=ann)


def _notes(
    members: list[ImageSet],
    counts: dict[Path, Counter[str]],
    classes: Sequence[str],
    empty: list[str],
    broken: set[Path],
) -> tuple[str, ...]:
    notes = []
    found = sum((counts[path] for s in members for path in s.xml_files), Counter())
    strangers = [f'{name} ({n})' for name, n in found.most_common() if name not in classes]
    if strangers:
        notes.append(f'left out: objects of other classes: {", ".join(strangers)}')
    if empty:
        notes.append(f'left out: boxes without area in the image: {_some(empty)}')
    unreadable = [str(path) for s in members for path in s.images if path in broken]
    if unreadable:
        notes.append(
            f'NOTE: truncated images would stop training: {_some(unreadable)}; unpack them again '
            'or remove them from the lists.'
        )
    return tuple(notes)


def _some(items: Sequence[str], shown: int = 5) -> str:
    return ', '.join(items[:shown]) + (f', ... ({len(items)})' if len(items) > shown else '')
