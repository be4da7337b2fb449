"""Checks a COCO file: classes, ids, image sizes, boxes, and the file of the evaluator."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mmengine.config import Config

from mmela.engine.checks.dataset.class_names import compare_names
from mmela.engine.checks.dataset.coco_json import Summary, summary_of
from mmela.engine.checks.dataset.data_sets import DataSet
from mmela.engine.checks.dataset.findings import Finding, listed_with_count
from mmela.engine.dataset_configs import is_remote, iter_evaluators

#: Faults wherever they are, with what to do.
_FAULTS = {
    'image id twice': 'images share an id, so that one would get the boxes of another; '
    'give each image an id of its own',
    'annotation id twice': 'annotations share an id; give each its own',
    'no image size': 'images have no width or height; write those of the image file, in pixels',
    'no box': 'annotations have no bbox of four numbers; write [x, y, width, height] in pixels',
    'no area': 'annotations have no area; write that of the mask, or width * height of the box',
    'not finite': 'boxes hold NaN, infinity or no number; write [x, y, width, height] in pixels',
}
#: What is left out by MMDetection without a word: a fault where it is everything.
_LEFT_OUT = {
    'image id unknown': 'annotations are of images that the file does not have',
    'category id unknown': 'annotations are of categories that the file does not have',
    'zero area': 'boxes have zero or negative size',
    'below one pixel': 'boxes are narrower than one pixel',
    'outside': 'boxes lie outside of their image',
}
#: What stays in, and may be a slip.
_WARNINGS = {
    'beyond': 'boxes reach beyond their image',
    'file name twice': 'file names are listed twice',
}
#: Share of boxes from which an odd form is taken for that of the whole file.
_NEARLY_ALL = 0.99


def check_coco(dataset: DataSet, summary: Summary) -> Iterator[Finding]:
    """Checks the COCO file of a data set.

    Args:
        dataset: The data set.
        summary: Of its file, see :func:`mmela.engine.checks.dataset.coco_json.summary_of`.

    Yields:
        Faults and warnings.
    """
    path, key = os.path.abspath(str(dataset.ann_file)), f'{dataset.key}.ann_file'
    if summary['fault']:
        yield Finding(key, f'{path} {summary["fault"]}.', path=path)
        return
    if not summary['is_coco']:
        text = f'{path} is not a COCO file: expected dicts in images, annotations and categories.'
        yield Finding(key, text, path=path)
        return
    names = [name for _, name in summary['categories']]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        shown = listed_with_count(doubled)
        text = f'{path} has categories of the same name ({shown}); give each its own.'
        yield Finding(key, text, path=path)
    yield from compare_names(dataset, path, names, is_ordered=True)
    yield from _unused_categories(dataset, summary, path)
    yield from _boxes(summary, key, path, is_training=dataset.split == 'train')


def _unused_categories(dataset: DataSet, summary: Summary, path: str) -> Iterator[Finding]:
    boxes = dict(summary['per_category'])
    unused = {
        name: boxes[id_]
        for id_, name in summary['categories']
        if boxes.get(id_) and dataset.classes and name not in dataset.classes
    }
    if unused and len(unused) < len(summary['categories']):
        shown = listed_with_count([f'{n} ({c})' for n, c in unused.items()])
        yield Finding(
            f'{dataset.key}.metainfo.classes',
            f'{sum(unused.values())} boxes of {path} are of categories that the config does not '
            f'name and are not used: {shown}.',
            is_fault=False,
            path=path,
        )


def _boxes(summary: Summary, key: str, path: str, *, is_training: bool) -> Iterator[Finding]:
    count, examples = summary['count'], summary['examples']
    boxes = count.get('annotations', 0) - count.get('crowds', 0)

    def found(kind: str, text: str, is_fault: bool) -> Finding:
        number, total = count[kind], boxes if kind not in ('image id twice',) else count['images']
        shown = f'{number} of {total} {text}: {listed_with_count(examples[kind], number)}'
        return Finding(key, f'in {path}, {shown}.', is_fault, path)

    if not count.get('images'):
        yield Finding(key, f'{path} lists no images.', path=path)
        return
    if boxes <= 0:
        what = 'only crowds' if count.get('annotations') else 'no annotations'
        advice = '; there is nothing to train on' if is_training else ''
        yield Finding(key, f'{path} has {what}{advice}.', is_training, path)
        return
    for kind, text in _FAULTS.items():
        if count.get(kind):
            yield found(kind, text, True)
    if count.get('normalised', 0) >= _NEARLY_ALL * boxes:
        text = 'boxes lie between 0 and 1; write [x, y, width, height] in pixels'
        yield found('normalised', text, True)
        return
    beyond = count.get('beyond', 0) + count.get('outside', 0)
    if count.get('like corners', 0) >= _NEARLY_ALL * boxes and beyond > 0.2 * boxes:
        yield found(
            'like corners',
            'boxes look like corners, because width and height exceed x and y and many reach '
            'beyond their image; write [x, y, width, height] in place of [x1, y1, x2, y2]',
            True,
        )
        return
    for kind, text in {**_LEFT_OUT, **_WARNINGS}.items():
        if count.get(kind):
            is_left_out = kind in _LEFT_OUT
            consequence = ', which are not used' if is_left_out else ''
            yield found(kind, text + consequence, is_left_out and not count.get('usable'))


def check_evaluator_files(cfg: Config, datasets: list[DataSet]) -> Iterator[Finding]:
    """Checks that each evaluator's annotation file is of the images that are evaluated.

    Args:
        cfg: The config.
        datasets: Its data sets.

    Yields:
        Faults that name both files.
    """
    for split in ('val', 'test'):
        of_split = [d for d in datasets if d.split == split and d.reader == 'CocoDataset']
        for evaluator, where in iter_evaluators(cfg, [split]) if len(of_split) == 1 else ():
            theirs, ours = evaluator.get('ann_file'), of_split[0].ann_file
            if not isinstance(theirs, str) or is_remote(evaluator) or ours is None:
                continue
            if not os.path.isfile(theirs) or os.path.samefile(theirs, ours):
                continue
            summaries = [summary_of(path) for path in (theirs, ours)]
            if summaries[0].get('digest') != summaries[1].get('digest'):
                images = [s['count'].get('images', 0) for s in summaries]
                yield Finding(
                    f'{where}.ann_file',
                    f'expected the annotations of the images that are evaluated, '
                    f'{of_split[0].key}.ann_file ({os.path.abspath(ours)}, {images[1]} images), '
                    f'got {os.path.abspath(theirs)} ({images[0]} other images): --cfg-options '
                    f'{where}.ann_file={ours}.',
                    path=theirs,
                )
