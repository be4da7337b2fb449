"""Looks whether the data of a run is there, before anything heavy is imported or started."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config

from mmela.engine.checks.class_folders import check_class_folders
from mmela.engine.checks.data_sources import how_to_prepare
from mmela.engine.checks.topk import check_topk
from mmela.engine.config import TASKS
from mmela.engine.dataset_configs import is_remote, leaf_datasets, with_keys
from mmela.engine.options import EVALUATOR_PATHS
from mmela.errors import UserError

#: Data sets that fetch themselves when they are first used.
_SELF_FETCHING = ('CIFAR10', 'CIFAR100', 'MNIST', 'FashionMNIST')
#: Detection data sets in VOC layout have two more folders below their data root.
_VOC_TYPES = ('VOCDataset', 'XMLDataset')
_VOC_FOLDERS = {'img_subdir': 'JPEGImages', 'ann_subdir': 'Annotations'}


class DataPath(NamedTuple):
    """A file or folder that a config needs."""

    key: str  #: where the config says so, such as ``train_dataloader.dataset.ann_file``
    path: str  #: the path, joined with the data root
    dataset_type: str  #: type of the data set or evaluator
    root: str  #: its data root
    ann_file: str  #: its annotation file as the config has it


def check_data(cfg: Config, splits: Sequence[str]) -> None:
    """Checks that the data of a run is there.

    Args:
        cfg: The config.
        splits: What will be used: ``('train', 'val')`` for training, ``('test',)`` for a test.

    Raises:
        UserError: If a file or folder is missing or a folder is empty. The message names every
            one with its config key, and how each data set is prepared. Also if class folders
            differ or an accuracy asks for too many classes, see
            :func:`mmela.engine.checks.class_folders.check_class_folders` and
            :func:`mmela.engine.checks.topk.check_topk`.
    """
    missing: dict[str, list[DataPath]] = {}
    for data_path in data_paths(cfg, splits):
        if not _is_there(data_path.path) or _is_folder_for_file(cfg, data_path):
            missing.setdefault(os.path.abspath(data_path.path), []).append(data_path)
    for path in [p for p in missing if any(p.startswith(q + os.sep) for q in missing)]:
        del missing[path]  # below a folder that is named already
    if not missing:
        check_class_folders(cfg, splits)
        check_topk(cfg, splits)
        return
    lines = ['the config needs data that is not there:']
    for absolute, wanted in missing.items():
        state = _state(absolute)
        lines.append(f'  {", ".join(item.key for item in wanted)}: {absolute} {state}')
    lines += [f'Prepare {source}' for source in _sources(cfg, missing)]
    if 'data_root' in cfg:
        lines.append('If it lies in another folder: --cfg-options data_root=FOLDER')
    else:
        lines.append(f'If it lies elsewhere: --cfg-options {_root_key(missing)}=FOLDER')
    raise UserError('\n'.join(lines))


def data_paths(cfg: Config, splits: Sequence[str]) -> list[DataPath]:
    """Every local file and folder that the data sets and evaluators of a config read.

    Args:
        cfg: The config.
        splits: Any of ``'train'``, ``'val'``, ``'test'``.

    Returns:
        The paths. Below a data root that is missing nothing more is listed.
    """
    paths: list[DataPath] = []
    for split in splits:
        key = f'{split}_dataloader'
        dataset = (cfg.get(key) or {}).get('dataset')
        if isinstance(dataset, dict):
            for leaf, where in leaf_datasets(dataset, f'{key}.dataset'):
                paths += _dataset_paths(leaf, where)
        key = f'{split}_evaluator'
        for evaluator, where in with_keys(cfg.get(key), key):
            for name in EVALUATOR_PATHS:
                if isinstance(evaluator.get(name), str) and not is_remote(evaluator):
                    kind = str(evaluator.get('type', ''))
                    paths.append(DataPath(f'{where}.{name}', evaluator[name], kind, '', ''))
    return [item for item in paths if '://' not in item.path]


def _dataset_paths(dataset: dict, key: str) -> Iterator[DataPath]:
    kind = str(dataset.get('type', '')).rpartition('.')[2]
    if kind in _SELF_FETCHING or is_remote(dataset):
        return
    root = _text(dataset.get('data_root') or '', f'{key}.data_root')
    ann_file = str(dataset.get('ann_file', ''))
    if root and '://' not in root and not os.path.isdir(root):
        yield DataPath(f'{key}.data_root', root, kind, root, ann_file)
        return
    if kind in _VOC_TYPES and isinstance(dataset.get('data_prefix'), str):
        raise UserError(
            f'{key}.data_prefix is the text {dataset["data_prefix"]!r}, and {kind} takes a dict '
            f'there: data_prefix=dict(sub_data_root={dataset["data_prefix"]!r}).'
        )
    for where, path in _leaf_paths(dataset, kind):
        path = _text(path, f'{key}.{where}')
        yield DataPath(f'{key}.{where}', os.path.join(root, path), kind, root, ann_file)


def _leaf_paths(dataset: dict, kind: str) -> Iterator[tuple[str, str]]:
    """Keys and paths of one data set, relative to its data root."""
    ann_file = dataset.get('ann_file')
    if isinstance(ann_file, (list, tuple)):
        yield from ((f'ann_file.{index}', path) for index, path in enumerate(ann_file))
    elif ann_file:
        yield 'ann_file', ann_file
    prefix = dataset.get('data_prefix')
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


def _is_there(path: str) -> bool:
    if os.path.isdir(path):
        with os.scandir(path) as entries:
            return any(entries)
    return os.path.isfile(path)


def _is_folder_for_file(cfg: Config, item: DataPath) -> bool:
    """Whether a folder stands for an annotation file, which only other toolboxes allow."""
    is_ann_file = re.search(r'\.ann_file(\.\d+)?$', item.key) is not None
    return is_ann_file and cfg.get('default_scope') in TASKS and os.path.isdir(item.path)


def _state(path: str) -> str:
    if not os.path.isdir(path):
        return 'does not exist'
    return 'is a folder, and a file is needed' if _is_there(path) else 'is an empty folder'


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise UserError(
            f'{key} is {value!r}, and a path is needed there; several data sets are joined by '
            "dict(type='ConcatDataset', datasets=[...])."
        )
    return value


def _sources(cfg: Config, missing: dict[str, list[DataPath]]) -> list[str]:
    scope = cfg.get('default_scope', '')
    by_set: dict[tuple[str, str], list[str]] = {}
    for wanted in missing.values():
        # An evaluator's file is one of its data set's; it has advice of its own only alone.
        item = max(wanted, key=lambda entry: bool(entry.root))
        by_set.setdefault((item.dataset_type, item.root or item.path), []).extend(
            [item.path, item.ann_file]
        )
    advice = [
        how_to_prepare(scope, kind, root, paths)
        for (kind, root), paths in by_set.items()
        if not kind.endswith('Metric') or len(by_set) == 1
    ]
    return list(dict.fromkeys(advice))


def _root_key(missing: dict[str, list[DataPath]]) -> str:
    key = next(iter(missing.values()))[0].key
    return (
        re.sub(r'\.(data_root|ann_file|data_prefix|split|\w+_subdir)(\.\w+)?$', '', key)
        + '.data_root'
    )
