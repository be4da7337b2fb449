"""Reads a COCO file once and sums up what checks need; later starts take the summary kept on disk.

MMDetection leaves out boxes without a word: those of zero or negative size, outside of their image
or of a category that the file or the config does not have.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmela.engine.data.file_faults import encoding_fault

#: Counts up when summaries hold something else.
_VERSION = 2
_EXAMPLES = 5
#: Images that a kept summary has of a file.
_SAMPLE = 64

Summary = dict[str, Any]


def summary_of(path: str, *, every_image: bool = False) -> Summary:
    """The summary of a COCO file.

    It is kept below ``$XDG_CACHE_HOME`` (``~/.cache``) and taken from there while path, size and
    time of change are the same.

    Args:
        path: The file.
        every_image: Whether ``images`` has to hold all images, so that the file is read again.

    Returns:
        ``fault``: why it cannot be read, or ``''``. ``is_coco``. ``categories``: pairs of id and
        name. ``images``: index, file name, width and height of each, or of a sample. ``count``:
        of images, boxes, boxes that count (no crowd, large enough, of a known category) and so
        on. ``per_category``: boxes by id. ``examples``: some names for each count. ``digest``: of
        the image ids and names, in any order.
    """
    state = os.stat(path)
    place = os.path.realpath(path)
    stamp = [_VERSION, place, state.st_size, state.st_mtime_ns]
    kept = _kept_file(place)
    if not every_image:
        with contextlib.suppress(OSError, ValueError, KeyError):
            found = json.loads(kept.read_text(encoding='utf-8'))
            if found['stamp'] == stamp:
                return dict(found['summary'])
    summary = _read(path)
    images = summary['images']
    step = max(1, len(images) // _SAMPLE)
    short = {**summary, 'images': images[::step][:_SAMPLE]}
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside = kept.with_suffix(f'.{os.getpid()}')
        beside.write_text(json.dumps(dict(stamp=stamp, summary=short)), encoding='utf-8')
        beside.replace(kept)
    return summary if every_image else short


def _kept_file(path: str) -> Path:
    root = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    name = hashlib.sha256(path.encode(errors='surrogateescape')).hexdigest()[:24]
    return Path(root, 'mmela', 'annotations', f'{name}.json')


def _read(path: str) -> Summary:
    content: Any = None
    fault = encoding_fault(path)
    if not fault:
        try:
            with open(path, encoding='utf-8') as file, _without_collector():
                content = json.load(file)
        except (ValueError, RecursionError) as error:
            fault = f'is not a JSON file or is truncated ({error})'
    is_coco = isinstance(content, dict) and all(
        isinstance(content.get(name, []), list) for name in ('images', 'annotations', 'categories')
    )
    is_coco = is_coco and {'images', 'categories'} <= {*content}
    summary: Summary = dict(fault=fault, is_coco=is_coco, images=[], count={}, examples={})
    try:
        return {**summary, **_sum_up(content)} if is_coco else summary
    except (AttributeError, TypeError):  # entries that are no dicts, ids that are lists
        return {**summary, 'is_coco': False}


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Millions of new objects, none of them garbage: looking through them takes long."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _sum_up(content: dict) -> Summary:
    count: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}

    def note(kind: str, example: object) -> None:
        count[kind] += 1
        if len(found := examples.setdefault(kind, [])) < _EXAMPLES:
            found.append(str(example))

    categories = [(c.get('id'), str(c.get('name'))) for c in content['categories']]
    images: dict[Any, tuple] = {}
    names: set[str] = set()
    listed = []
    ids_and_names = []
    for index, image in enumerate(content['images']):
        name, id_ = str(image.get('file_name')), image.get('id')
        width, height = (_number(image.get(side)) for side in ('width', 'height'))
        if id_ in images:
            note('image id twice', f'{id_} ({name})')
        if name in names:
            note('file name twice', name)
        if not width or not height:
            note('no image size', name)
        names.add(name)
        images[id_] = (name, width, height)
        listed.append((index, name, width, height))
        ids_and_names.append(f'{id_} {name}\n')
    joined = ''.join(sorted(ids_and_names)).encode(errors='surrogatepass')
    ids: set[Any] = set()
    per_category: Counter[Any] = Counter()
    known = {id_ for id_, _ in categories}
    for annotation in content.get('annotations', []):
        _look_at_box(annotation, images, known, ids, per_category, note)
    count.update(
        images=len(listed), annotations=len(content.get('annotations', [])), crowds=count['crowd']
    )
    return dict(
        categories=categories,
        images=listed,
        count=dict(count),
        per_category=[[id_, number] for id_, number in per_category.items()],
        examples=examples,
        digest=hashlib.sha256(joined).hexdigest(),
    )


def _look_at_box(
    annotation: dict,
    images: dict[Any, tuple],
    categories: set[Any],
    ids: set[Any],
    per_category: Counter[Any],
    note: Any,
) -> None:
    """Counts what is wrong with one annotation, by the rules of MMDetection's CocoDataset."""
    id_, image, category = (annotation.get(k) for k in ('id', 'image_id', 'category_id'))
    if id_ in ids:
        note('annotation id twice', id_)
    ids.add(id_)
    per_category[category] += 1
    if image not in images:
        note('image id unknown', f'annotation {id_} of image {image!r}')
        return
    name, width, height = images[image]
    where = f'{name} (annotation {id_})'
    if annotation.get('area') is None:  # MMDetection compares it with 0, that of a crowd as well
        note('no area', where)
    if category not in categories:
        note('category id unknown', f'{where}: {category!r}')
        return
    if annotation.get('iscrowd'):
        note('crowd', where)
        return
    box = annotation.get('bbox')
    if not isinstance(box, list) or len(box) != 4:
        note('no box', where)
        return
    kinds = kinds_of_box([_number(side) for side in box], width, height)
    if annotation.get('area') is not None and (_number(annotation['area']) or 0) <= 0:
        kinds = {*kinds, 'zero area'}
    for kind in kinds:
        note(kind, where)
    if not kinds & {'not finite', 'zero area', 'below one pixel', 'outside'}:
        note('usable', where)


def kinds_of_box(box: list[float | None], width: float | None, height: float | None) -> set[str]:
    """What is odd about a box.

    Args:
        box: x, y, width and height in pixels; None or NaN for what is no number.
        width: Width of its image, if it is known.
        height: Its height.

    Returns:
        Any of ``'not finite'``, ``'zero area'``, ``'below one pixel'``, ``'outside'`` (all of it),
        ``'beyond'`` (a part of it), ``'normalised'`` and ``'like corners'``.
    """
    x, y, w, h = (math.nan if side is None else float(side) for side in box)
    if not all(map(math.isfinite, (x, y, w, h))):
        return {'not finite'}
    kinds = set()
    if w <= 0 or h <= 0:
        kinds.add('zero area')
    elif w < 1 or h < 1:
        kinds.add('below one pixel')
    if max(x + w, y + h) <= 1.5 and min(x, y, w, h) >= 0:
        kinds.add('normalised')
    if w > x and h > y:
        kinds.add('like corners')
    if width and height:
        if x >= width or y >= height or (x + w <= 0 or y + h <= 0) and 'zero area' not in kinds:
            kinds.add('outside')
        elif x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
            kinds.add('beyond')
    return kinds


def _number(value: object) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number else None  # type: ignore[return-value]
