"""Compares the class folders of a classification config with each other and with its head.

MMPreTrain numbers the classes by the folders that it finds, separately for each split. A folder
that one split lacks would shift the labels of that split without a message.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mmengine.config import Config

from mmela.engine.data.file_faults import encoding_fault
from mmela.engine.dataset_configs import is_remote, iter_datasets, iter_evaluators, type_name
from mmela.engine.log import log_once
from mmela.errors import UserError, listed

#: What MMPreTrain's CustomDataset takes for an image where a config has no ``extensions``.
EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')
#: MMPreTrain's ImageNet has the names of these where a config names no classes.
_IMAGENET_CLASSES = 1000


class _ClassFolders(NamedTuple):
    """The class folders of one data set."""

    key: str  #: config key of the data set
    path: str
    names: list[str]
    dataset: dict  #: its config


def check_class_folders(cfg: Config, splits: Sequence[str]) -> None:
    """Checks that the class folders of a classification config fit one another and its head.

    Data sets with an annotation file are not checked. A training class without images triggers a
    warning; elsewhere an empty folder keeps the label of its class.

    Raises:
        UserError: If a folder of images has no class folders, hidden ones, no image in any, or
            others than training has; if their number differs from that of the classes that the
            config names or of the head.
    """
    if cfg.get('default_scope') != 'mmpretrain':
        return
    training = {tuple(n for n in f.names if n[0] != '.') for f in _folders(cfg, ['train'])} - {()}
    expected = training.pop() if len(training) == 1 else None
    for found in _folders(cfg, splits):
        _check_names(found)
        _compare(found, expected, _num_classes(cfg))
        _check_images(found, is_training=found.key.startswith('train'))


def check_topk(cfg: Config, splits: Sequence[str]) -> None:
    """Checks that no accuracy of a classification config asks for more classes than there are.

    MMPreTrain would fail after the first epoch.

    Raises:
        UserError: If a ``topk`` is too large.
    """
    classes = _num_classes(cfg)
    if cfg.get('default_scope') != 'mmpretrain' or classes is None:
        return
    for evaluator, key in iter_evaluators(cfg, splits):
        topk = evaluator.get('topk', 1)
        topk = topk if isinstance(topk, (list, tuple)) else [topk]
        valid = [k for k in topk if isinstance(k, int) and k <= classes]
        if type_name(evaluator) == 'Accuracy' and len(valid) < len(topk):
            raise UserError(
                f'{key}.topk: expected at most model.head.num_classes={classes}, got '
                f'{", ".join(map(str, topk))}; '
                f'--cfg-options "{key}.topk=[{",".join(map(str, valid or [1]))}]".'
            )


def _num_classes(cfg: Config) -> int | None:
    model = cfg.get('model') or {}
    head = model.get('module', model).get('head') or {}  # `module` with --tta
    classes = head.get('num_classes')
    return classes if isinstance(classes, int) else None


def _check_names(found: _ClassFolders) -> None:
    key, path, names, _ = found
    if not names:
        raise UserError(
            f'{key}: expected a folder for each class in {path}, found none; sort the images into '
            'such folders, or name an annotation file (ann_file).'
        )
    hidden = [os.path.join(path, name) for name in names if name.startswith('.')]
    if hidden:
        raise UserError(
            f'{key}: MMPreTrain takes every hidden folder for a class; remove {listed(hidden)}.'
        )


def _compare(
    found: _ClassFolders, expected: tuple[str, ...] | None, num_classes: int | None
) -> None:
    """Compares class folders with those of the training, with the head and with named classes."""
    key, path, names, dataset = found
    contents = f'{path} has {len(names)} class folders ({listed(names)})'
    if expected is not None and tuple(names) != expected:
        raise UserError(
            f'{key}: expected the class folders of the training data in {path}; only one of them '
            f'has {listed(sorted({*names} ^ {*expected}))}, which would shift the labels; an empty '
            'folder keeps the label of a class.'
        )
    if num_classes not in (None, len(names)):
        raise UserError(
            f'{key}: {contents}, but model.head.num_classes is {num_classes}: '
            f'--cfg-options model.head.num_classes={len(names)}. If this is intended: '
            '--no-data-check.'
        )
    where, named = _named_classes(dataset, key)
    if named not in (None, len(names)):
        raise UserError(
            f'{where} names {named} classes, but {contents}; name as many, in the order of the '
            'folders, or none.'
        )
    if type_name(dataset) == 'ImageNet' and named is None and len(names) != _IMAGENET_CLASSES:
        raise UserError(
            f"{key}: {contents}, but type 'ImageNet' stands for {_IMAGENET_CLASSES} classes; "
            f'--cfg-options {key}.type=CustomDataset names the classes after the folders.'
        )


def _check_images(found: _ClassFolders, is_training: bool) -> None:
    key, path, names, dataset = found
    extensions = tuple(str(e).lower() for e in dataset.get('extensions') or EXTENSIONS)
    empty = [
        name
        for name in names
        if not any(f.lower().endswith(extensions) for f in _files(os.path.join(path, name)))
    ]
    if len(empty) == len(names):
        others = {os.path.splitext(file)[1] for file in _files(path)} - {''}
        fix = 'put the images of each class into its folder.'
        if others:
            fix = (
                f'it has {listed(sorted(others))}: convert them, or name other extensions that '
                f'OpenCV reads: --cfg-options "{key}.extensions=[.EXT]".'
            )
        raise UserError(
            f'{key}: no class folder of {path} has an image ({", ".join(extensions)}); {fix}'
        )
    if empty and is_training:
        log_once(
            f'{key}: {path} has no images ({", ".join(extensions)}) of {listed(empty)}, which the '
            'network cannot learn.',
            logging.WARNING,
        )


def _named_classes(dataset: dict, key: str) -> tuple[str, int | None]:
    """Where a data set names its classes, and how many; None if it names none."""
    metainfo = dataset.get('metainfo') or {}
    in_metainfo = metainfo.get('classes') is not None
    where = f'{key}.metainfo.classes' if in_metainfo else f'{key}.classes'
    classes = (metainfo if in_metainfo else dataset).get('classes')
    if isinstance(classes, str):
        path = os.path.expanduser(classes)
        if not os.path.isfile(path):
            raise UserError(
                f'{where}: expected a tuple of names or a file with a class a line, got the text '
                f'{classes!r}; write one class as classes=({classes!r},).'
            )
        if fault := encoding_fault(path):
            raise UserError(f'{where}: {path} {fault}.')
        with open(path, encoding='utf-8') as file:
            return where, len(file.read().splitlines())
    return where, None if classes is None else len(classes)


def _folders(cfg: Config, splits: Sequence[str]) -> Iterator[_ClassFolders]:
    """The data sets that are read from class folders which exist."""
    for dataset, key in iter_datasets(cfg, splits):
        path = image_folder(dataset)
        if path is not None and os.path.isdir(path):
            with os.scandir(path) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir())
            yield _ClassFolders(key, os.path.abspath(path), names, dataset)


def _files(folder: str) -> Iterator[str]:
    """The names of the files below a folder that MMEngine lists, one by one: many take long."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(entry.path)
            elif not entry.name.startswith('.'):
                yield entry.name


def image_folder(dataset: dict) -> str | None:
    """The folder whose class folders a data set reads; None if it reads its labels elsewhere."""
    kind = type_name(dataset)
    prefix, split = dataset.get('data_prefix') or '', dataset.get('split') or ''
    if isinstance(prefix, dict):
        prefix = prefix.get('img_path', '')
    if kind not in ('CustomDataset', 'ImageNet') or dataset.get('ann_file') or is_remote(dataset):
        return None
    if dataset.get('with_label') is False or (kind == 'ImageNet' and split == 'test'):
        return None
    root = dataset.get('data_root') or ''
    if kind == 'ImageNet' and split:
        if os.path.isfile(os.path.join(root, 'meta', f'{split}.txt')):
            return None
        prefix = prefix or split
    return os.path.join(root, prefix)
