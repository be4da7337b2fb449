"""Compares the class folders of a classification data set with each other and with the network.

MMPreTrain numbers the classes by the folders that it finds, split by split. A folder that one
split lacks would shift the labels of that split, and nobody would be told.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from mmengine.config import Config

from mmela.runtime.dataset_configs import is_remote, leaf_datasets
from mmela.runtime.errors import UserError

_TYPES = ('CustomDataset', 'ImageNet')
_NAMES_SHOWN = 10


def check_class_folders(cfg: Config, splits: Sequence[str]) -> None:
    """Checks that the class folders of a classification config fit one another and its head.

    Where a data set has an annotation file, nothing is checked.

    Args:
        cfg: The config.
        splits: Any of ``'train'``, ``'val'``, ``'test'``.

    Raises:
        UserError: If a folder of images has no class folders or others than the training's, or
            the head has not as many classes.
    """
    if cfg.get('default_scope') != 'mmpretrain':
        return
    of_training = {tuple(names) for _, _, names in _folders(cfg, 'train') if names}
    expected = of_training.pop() if len(of_training) == 1 else None
    model = cfg.get('model') or {}
    head = model.get('module', model).get('head') or {}  # `module` with --tta
    for split in splits:
        for key, path, names in _folders(cfg, split):
            if not names:
                raise UserError(
                    f'{key}: {path} holds no folders; the images of each class lie in a folder of '
                    'their own there, or an annotation file names them (ann_file).'
                )
            if expected is not None and tuple(names) != expected:
                odd = sorted({*names} ^ {*expected})
                raise UserError(
                    f'{key}: the class folders of {path} are not those of the training: '
                    f'{_shown(odd)} {"is" if len(odd) == 1 else "are"} in one of both alone, which '
                    'would shift the labels; an empty folder keeps a class in its place.'
                )
            num_classes = head.get('num_classes')
            if isinstance(num_classes, int) and num_classes != len(names):
                raise UserError(
                    f'{key}: {path} holds {len(names)} classes ({_shown(names)}), and '
                    f'model.head.num_classes is {num_classes}: '
                    f'--cfg-options model.head.num_classes={len(names)}. If it is meant: '
                    '--no-data-check.'
                )


def _folders(cfg: Config, split: str) -> list[tuple[str, str, list[str]]]:
    """Config key, path and class folders of every data set that is read from folders."""
    dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
    if not isinstance(dataset, dict):
        return []
    found = []
    for leaf, key in leaf_datasets(dataset, f'{split}_dataloader.dataset'):
        path = _image_folder(leaf)
        if path is not None and os.path.isdir(path):
            with os.scandir(path) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir())
            found.append((key, os.path.abspath(path), names))
    return found


def _image_folder(dataset: dict) -> str | None:
    """The folder whose class folders a data set reads; None if it reads them elsewhere."""
    kind = str(dataset.get('type', '')).rpartition('.')[2]
    prefix, split = dataset.get('data_prefix') or '', dataset.get('split') or ''
    if isinstance(prefix, dict):
        prefix = prefix.get('img_path', '')
    if kind not in _TYPES or dataset.get('ann_file') or is_remote(dataset):
        return None
    if dataset.get('with_label') is False or (kind == 'ImageNet' and split == 'test'):
        return None
    root = dataset.get('data_root') or ''
    if kind == 'ImageNet' and split:
        if os.path.isfile(os.path.join(root, 'meta', f'{split}.txt')):
            return None
        prefix = prefix or split
    return os.path.join(root, prefix)


def _shown(names: Sequence[str]) -> str:
    return ', '.join(names[:_NAMES_SHOWN]) + ', ...' * (len(names) > _NAMES_SHOWN)
