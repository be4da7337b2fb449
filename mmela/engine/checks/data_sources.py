"""Where each public data set comes from: the command or page that prepares it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import PurePath

_MMDET_PAGE = 'https://mmdetection.readthedocs.io/en/latest/user_guides/dataset_prepare.html'
_MMSEG_PAGE = 'https://mmsegmentation.readthedocs.io/en/latest/user_guides/2_dataset_prepare.html'
_MMPRETRAIN_PAGE = 'https://mmpretrain.readthedocs.io/en/latest/user_guides/dataset_prepare.html'
_README = 'tools/dataset_converters/README.md'  # folder trees and commands, step by step


def how_to_prepare(scope: str, dataset_type: str, root: str, paths: list[str]) -> str:
    """Says how a data set is prepared.

    Args:
        scope: Toolbox of the config: ``'mmdet'``, ``'mmseg'`` or ``'mmpretrain'``.
        dataset_type: Its ``type`` in the config, such as ``'CocoDataset'``.
        root: Its ``data_root``, or the path that is missing where it has none.
        paths: What is missing of it.

    Returns:
        A sentence with a command or a page.
    """
    parts = set(PurePath(root).parts)
    text = ' '.join([root, *paths])
    name = dataset_type.rpartition('.')[2]
    if 'shapes' in parts:
        target = os.path.join(*_up_to(PurePath(root), 'shapes'))
        return f'the demo data set: `python tools/dataset_converters/shapes.py {target}`'
    if name == 'PascalVOCDataset':
        if 'Aug' in text or 'aug.txt' in text:
            return (
                'PASCAL VOC 2012 with the SBD masks: `python tools/dataset_converters/voc_aug.py '
                f'VOCDEVKIT SBD`, see {_README} and {_MMSEG_PAGE}#pascal-voc'
            )
        return f'PASCAL VOC 2012: {_voc("voc2012")}, see also {_README}'
    if name == 'VOCDataset':
        year = 'voc2012' if 'VOC2012' in text and 'VOC2007' not in text else 'voc2007'
        return f'PASCAL VOC: {_voc(year)}, see also {_README} and {_MMDET_PAGE}'
    if name.startswith('Coco') and ('coco' in parts or '2017' in text):
        return (
            f'COCO 2017: {_download("coco2017", "data/coco")}, '
            'or by hand from https://cocodataset.org/#download'
        )
    if name == 'ImageNet':
        return f'ImageNet: {_MMPRETRAIN_PAGE}#imagenet'
    page = {'mmseg': _MMSEG_PAGE, 'mmpretrain': _MMPRETRAIN_PAGE}.get(scope, _MMDET_PAGE)
    return f'the folders that a {name} expects: {page}'


def _voc(name: str) -> str:
    return f'{_download(name, "data")}, or by hand from http://host.robots.ox.ac.uk/pascal/VOC/'


def _download(name: str, folder: str) -> str:
    """The command of MMDetection's own downloader, where it is installed."""
    spec = find_spec('mmdet')
    if spec is None or spec.origin is None:
        return f'tools/misc/download_dataset.py of MMDetection (--dataset-name {name})'
    script = os.path.join(os.path.dirname(spec.origin), '.mim/tools/misc/download_dataset.py')
    script = min(script, os.path.relpath(script), key=len)
    return f'`python {script} --dataset-name {name} --save-dir {folder} --unzip --delete`'


def _up_to(path: PurePath, part: str) -> tuple[str, ...]:
    return path.parts[: path.parts.index(part) + 1]
