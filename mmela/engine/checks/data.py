"""Checks that the data of a run exists, before anything heavy is imported or started."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config

from mmela.engine.checks.data_sources import how_to_prepare
from mmela.engine.dataset_configs import (
    EVALUATOR_PATHS,
    is_remote,
    iter_datasets,
    iter_evaluators,
    type_name,
)
from mmela.engine.toolboxes import TOOLBOXES
from mmela.errors import UserError

#: Data sets that download themselves when they are first used.
_SELF_DOWNLOADING = ('CIFAR10', 'CIFAR100', 'MNIST', 'FashionMNIST')
#: Detection data sets in VOC layout have two more folders below their data root.
_VOC_TYPES = ('VOCDataset', 'XMLDataset')
_VOC_FOLDERS = {'img_subdir': 'JPEGImages', 'ann_subdir': 'Annotations'}


class DataPath(NamedTuple):
    """A file or folder that a config needs."""

    key: str  #: where the config names it, such as ``train_dataloader.dataset.ann_file``
    path: str  #: the path, joined with the data root
    dataset_type: str  #: type of the data set or evaluator
    root: str = ''  #: its data root
    ann_file: str = ''  #: its annotation file as the config has it


def check_paths(cfg: Config, splits: Sequence[str]) -> None:
    """Checks that the files and folders of the data sets and evaluators exist.

    Raises:
        UserError: If a file or folder is missing or a folder is empty. The message lists every
            one with its config key, and how each data set is prepared.
    """
    missing: dict[str, list[DataPath]] = {}
    for item in data_paths(cfg, splits):
        if not _is_there(item.path) or _is_folder_for_file(cfg, item):
            missing.setdefault(os.path.abspath(item.path), []).append(item)
    for path in [p for p in missing if any(p.startswith(q + os.sep) for q in missing)]:
        del missing[path]  # below a folder that is listed already
    if not missing:
        return
    lines = ['the config needs data that is not there:']
    for path, items in missing.items():
        lines.append(f'  {", ".join(item.key for item in items)}: {path} {_state(path)}')
    lines += [f'Prepare {source}' for source in _sources(cfg, missing)]
    key = 'data_root' if 'data_root' in cfg else _root_key(missing)
    lines.append(f'If it is in another folder: --cfg-options {key}=FOLDER')
    raise UserError('\n'.join(lines))


def data_paths(cfg: Config, splits: Sequence[str]) -> list[DataPath]:
    """Every local file and folder that the data sets and evaluators of a config read.

    Returns:
        The paths. Below a data root that is missing nothing more is listed.
    """
    paths = [path for item, key in iter_datasets(cfg, splits) for path in _dataset_paths(item, key)]
    for evaluator, key in iter_evaluators(cfg, splits):
        for name in EVALUATOR_PATHS:
            if isinstance(evaluator.get(name), str) and not is_remote(evaluator):
                kind = str(evaluator.get('type', ''))
                paths.append(DataPath(f'{key}.{name}', evaluator[name], kind))
    return [item for item in paths if '://' not in item.path]


def _dataset_paths(dataset: dict, key: str) -> Iterator[DataPath]:
    kind = type_name(dataset)
    if kind in _SELF_DOWNLOADING or is_remote(dataset):
        return
    root = _text(dataset.get('data_root') or '', f'{key}.data_root')
    ann_file = str(dataset.get('ann_file', ''))
    if root and '://' not in root and not os.path.isdir(root):
        yield DataPath(f'{key}.data_root', root, kind, root, ann_file)
        return
    prefix = dataset.get('data_prefix')
    if kind in _VOC_TYPES and isinstance(prefix, str):
        raise UserError(
            f'{key}.data_prefix: {kind} expects a dict, got the text {prefix!r}; write '
            f'data_prefix=dict(sub_data_root={prefix!r}).'
        )
    for name, path in _relative_paths(dataset, kind):
        path = os.path.join(root, _text(path, f'{key}.{name}'))
        yield DataPath(f'{key}.{name}', path, kind, root, ann_file)


def _relative_paths(dataset: dict, kind: str) -> Iterator[tuple[str, Any]]:
    """Keys and paths of one data set, relative to its data root."""
    ann_file, prefix = dataset.get('ann_file'), dataset.get('data_prefix')
    if isinstance(ann_file, (list, tuple)):
        yield from ((f'ann_file.{index}', path) for index, path in enumerate(ann_file))
    elif ann_file:
        yield 'ann_file', ann_file
    if isinstance(prefix, str):
        yield 'data_prefix', prefix
    elif prefix:
        yield from ((f'data_prefix.{name}', path) for name, path in prefix.items() if path)
    if kind == 'ImageNet' and dataset.get('split') and not prefix:
        yield 'split', dataset['split']
    if kind in _VOC_TYPES:
        base = (prefix or {}).get('sub_data_root', '')
        for name, default in _VOC_FOLDERS.items():
            yield name, os.path.join(base, dataset.get(name, default))


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise UserError(
            f'{key}: expected a path, got {value!r}; several data sets are joined by '
            "dict(type='ConcatDataset', datasets=[...])."
        )
    return value


def _is_there(path: str) -> bool:
    if os.path.isdir(path):
        with os.scandir(path) as entries:
            return any(entries)
    return os.path.isfile(path)


def _is_folder_for_file(cfg: Config, item: DataPath) -> bool:
    """Whether a folder stands for an annotation file, which only other toolboxes allow."""
    is_ann_file = re.search(r'\.ann_file(\.\d+)?$', item.key) is not None
    return is_ann_file and cfg.get('default_scope') in TOOLBOXES and os.path.isdir(item.path)


def _state(path: str) -> str:
    if not os.path.isdir(path):
        return 'does not exist'
    return 'is a folder, expected a file' if _is_there(path) else 'is an empty folder'


def _sources(cfg: Config, missing: dict[str, list[DataPath]]) -> list[str]:
    """How each data set is prepared of which something is missing."""
    scope = cfg.get('default_scope', '')
    by_set: dict[tuple[str, str], list[str]] = {}
    for items in missing.values():
        # An evaluator's file belongs to a data set, which says better where it comes from.
        item = max(items, key=lambda entry: bool(entry.root))
        paths = by_set.setdefault((item.dataset_type, item.root or item.path), [])
        paths += [item.path, item.ann_file]
    sources = [
        how_to_prepare(scope, kind, root, paths)
        for (kind, root), paths in by_set.items()
        if not kind.endswith('Metric') or len(by_set) == 1
    ]
    return list(dict.fromkeys(sources))


def _root_key(missing: dict[str, list[DataPath]]) -> str:
    key = next(iter(missing.values()))[0].key
    dataset = re.sub(r'\.(data_root|ann_file|data_prefix|split|\w+_subdir)(\.\w+)?$', '', key)
    return f'{dataset}.data_root'
