"""Compares the class folders of a classification data set with each other and with the network.

MMPreTrain numbers the classes by the folders that it finds, split by split. A folder that one
split lacks would shift the labels of that split, and nobody would be told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mmengine.config import Config

from mmela.engine.dataset_configs import is_remote, leaf_datasets
from mmela.engine.notices import tell
from mmela.errors import UserError

_TYPES = ('CustomDataset', 'ImageNet')
_NAMES_SHOWN = 10
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

    Where a data set has an annotation file, nothing is checked. A class without images is told
    where it is to be trained; elsewhere its empty folder keeps it in its place.

    Args:
        cfg: The config.
        splits: Any of ``'train'``, ``'val'``, ``'test'``.

    Raises:
        UserError: If a folder of images has no class folders, hidden ones, no image in any or
            others than the training's, or if the classes that the config names or those of the
            head are not as many.
    """
    if cfg.get('default_scope') != 'mmpretrain':
        return
    of_training = {tuple(_visible(found.names)) for found in _folders(cfg, 'train') if found.names}
    expected = of_training.pop() if len(of_training) == 1 else None
    model = cfg.get('model') or {}
    head = model.get('module', model).get('head') or {}  # `module` with --tta
    for split in splits:
        for found in _folders(cfg, split):
            _check_names(found)
            _compare(found, expected, head.get('num_classes'))
            _check_images(found, is_training=split == 'train')


def _check_names(found: _ClassFolders) -> None:
    key, path, names, _ = found
    if not names:
        raise UserError(
            f'{key}: {path} holds no folders; the images of each class lie in a folder of '
            'their own there, or an annotation file names them (ann_file).'
        )
    hidden = sorted({*names} - {*_visible(names)})
    if hidden:
        folders = 'folder' if len(hidden) == 1 else 'folders'
        raise UserError(
            f'{key}: {path} holds the hidden {folders} {_shown(hidden)}, which MMPreTrain takes '
            f'for a class; remove the hidden {folders} '
            f'{_shown([os.path.join(path, name) for name in hidden])}.'
        )


def _compare(found: _ClassFolders, expected: tuple[str, ...] | None, num_classes: object) -> None:
    """Compares class folders with those of the training, with the head and with named classes."""
    key, path, names, dataset = found
    if expected is not None and tuple(names) != expected:
        odd = sorted({*names} ^ {*expected})
        raise UserError(
            f'{key}: the class folders of {path} are not those of the training: '
            f'{_shown(odd)} {"is" if len(odd) == 1 else "are"} in one of both alone, which '
            'would shift the labels; an empty folder keeps a class in its place.'
        )
    if isinstance(num_classes, int) and num_classes != len(names):
        raise UserError(
            f'{key}: {path} holds {len(names)} classes ({_shown(names)}), and '
            f'model.head.num_classes is {num_classes}: '
            f'--cfg-options model.head.num_classes={len(names)}. If it is meant: '
            '--no-data-check.'
        )
    where, named = _named_classes(dataset, key)
    if named not in (None, len(names)):
        raise UserError(
            f'{where} names {named} classes, and {path} holds {len(names)} ({_shown(names)}); '
            'name as many, in the order of the folders, or none: the folders name them.'
        )
    if _type(dataset) == 'ImageNet' and named is None and len(names) != _IMAGENET_CLASSES:
        raise UserError(
            f"{key}: type 'ImageNet' has the names of {_IMAGENET_CLASSES} classes, and {path} "
            f'holds {len(names)} ({_shown(names)}); --cfg-options {key}.type=CustomDataset takes '
            "the folders' names."
        )


def _check_images(found: _ClassFolders, is_training: bool) -> None:
    key, path, names, dataset = found
    extensions = tuple(str(e).lower() for e in dataset.get('extensions') or EXTENSIONS)
    empty = [n for n in names if not _holds_image(os.path.join(path, n), extensions)]
    if len(empty) == len(names):
        others = sorted({e for n in names for e in _extensions(os.path.join(path, n))})
        advice = 'put the images of each class into its folder.'
        if others:
            advice = (
                f'there are {_shown(others)}: convert them, or name other extensions that OpenCV '
                f'reads: --cfg-options "{key}.extensions=[.EXT]".'
            )
        raise UserError(
            f'{key}: no class folder of {path} holds an image ({", ".join(extensions)}); {advice}'
        )
    if empty and is_training:
        tell(
            f'{key}: {path} has no image ({", ".join(extensions)}) of {_shown(empty)}, which the '
            'network cannot learn.',
            warning=True,
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
                f'{where} is the text {classes!r}, and there is no such file with a class a line; '
                f'one class is written with a comma: classes=({classes!r},).'
            )
        with open(path, encoding='utf-8') as file:
            return where, len(file.read().splitlines())
    return where, None if classes is None else len(classes)


def _folders(cfg: Config, split: str) -> list[_ClassFolders]:
    """Every data set that is read from class folders."""
    dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
    if not isinstance(dataset, dict):
        return []
    found = []
    for leaf, key in leaf_datasets(dataset, f'{split}_dataloader.dataset'):
        path = _image_folder(leaf)
        if path is not None and os.path.isdir(path):
            with os.scandir(path) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir())
            found.append(_ClassFolders(key, os.path.abspath(path), names, leaf))
    return found


def _files(folder: str) -> Iterator[str]:
    """The names of the files below a folder that MMEngine lists, one by one: many are slow."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(entry.path)
            elif not entry.name.startswith('.'):
                yield entry.name


def _holds_image(folder: str, extensions: tuple[str, ...]) -> bool:
    return any(name.lower().endswith(extensions) for name in _files(folder))


def _extensions(folder: str) -> set[str]:
    return {os.path.splitext(name)[1] for name in _files(folder)} - {''}


def _visible(names: Sequence[str]) -> list[str]:
    return [name for name in names if not name.startswith('.')]


def _type(dataset: dict) -> str:
    """The type of a data set without the scope."""
    return str(dataset.get('type', '')).rpartition('.')[2]


def _image_folder(dataset: dict) -> str | None:
    """The folder whose class folders a data set reads; None if it reads them elsewhere."""
    kind = _type(dataset)
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
