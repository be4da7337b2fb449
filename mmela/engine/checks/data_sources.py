"""Where each public data set comes from: the command or page that prepares it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import PurePath

_PAGES = {
    'mmdet': 'https://mmdetection.readthedocs.io/en/latest/user_guides/dataset_prepare.html',
    'mmseg': 'https://mmsegmentation.readthedocs.io/en/latest/user_guides/2_dataset_prepare.html',
    'mmpretrain': 'https://mmpretrain.readthedocs.io/en/latest/user_guides/dataset_prepare.html',
}
_README = 'tools/dataset_converters/README.md'  # folder trees and commands, step by step


def how_to_prepare(scope: str, dataset_type: str, root: str, paths: list[str]) -> str:
    """Says how a data set is prepared.

    Args:
        scope: Toolbox of the config: ``'mmdet'``, ``'mmseg'`` or ``'mmpretrain'``.
        dataset_type: Its ``type`` in the config, such as ``'CocoDataset'``.
        root: Its ``data_root``, or the path that is missing where it has none.
        paths: What is missing of it.
    """
    folders = PurePath(root).parts
    text = ' '.join([root, *paths])
    name = dataset_type.rpartition('.')[2]
    if 'shapes' in folders:
        target = os.path.join(*folders[: folders.index('shapes') + 1])
        return f'the demo data set: `python tools/dataset_converters/shapes.py {target}`'
    if name == 'PascalVOCDataset' and ('Aug' in text or 'aug.txt' in text):
        return (
            'PASCAL VOC 2012 with the SBD masks: `python tools/dataset_converters/voc_aug.py '
            f'VOCDEVKIT SBD`, see {_README} and {_PAGES["mmseg"]}#pascal-voc'
        )
    if name in ('PascalVOCDataset', 'VOCDataset'):
        is_2012 = name == 'PascalVOCDataset' or ('VOC2012' in text and 'VOC2007' not in text)
        download = _download('voc2012' if is_2012 else 'voc2007', 'data')
        page = 'http://host.robots.ox.ac.uk/pascal/VOC/'
        return f'PASCAL VOC: {download}, or by hand from {page}, see also {_README}'
    if name.startswith('Coco') and ('coco' in folders or '2017' in text):
        download = _download('coco2017', 'data/coco')
        return f'COCO 2017: {download}, or by hand from https://cocodataset.org/#download'
    if name == 'ImageNet':
        return f'ImageNet: {_PAGES["mmpretrain"]}#imagenet'
    return f'the folders that a {name} expects: {_PAGES.get(scope, _PAGES["mmdet"])}'


def _download(name: str, folder: str) -> str:
    """The command of MMDetection's own downloader, where it is installed."""
    spec = importlib.util.find_spec('mmdet')
    if spec is None or spec.origin is None:
        return f'tools/misc/download_dataset.py of MMDetection (--dataset-name {name})'
    script = os.path.join(os.path.dirname(spec.origin), '.mim/tools/misc/download_dataset.py')
    script = min(script, os.path.relpath(script), key=len)
    return f'`python {script} --dataset-name {name} --save-dir {folder} --unzip --delete`'
