"""The data sets and evaluators of a config: where they stand, and the folders that they name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import Config

#: What evaluators read, relative to the working directory.
EVALUATOR_PATHS = ('ann_file', 'seg_prefix')
SPLITS = ('train', 'val', 'test')
#: The parts of a config that have paths of data.
_DATA_KEYS = (
    *(f'{split}_dataloader' for split in SPLITS),
    'val_evaluator',
    'test_evaluator',
    'tta_pipeline',
)


def iter_datasets(cfg: Config, splits: Sequence[str] = SPLITS) -> Iterator[tuple[dict, str]]:
    """The data sets of a config that read files, inside whatever wraps them.

    Yields:
        Each data set with its config key, such as ``train_dataloader.dataset.datasets.0``.
    """
    for split in splits:
        dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
        if isinstance(dataset, dict):
            yield from _leaves(dataset, f'{split}_dataloader.dataset')


def iter_evaluators(cfg: Config, splits: Sequence[str] = SPLITS) -> Iterator[tuple[dict, str]]:
    """The evaluators of a config, one by one where there is a list.

    Yields:
        Each evaluator with its config key, such as ``val_evaluator`` or ``val_evaluator.0``.
    """
    for split in splits:
        yield from _with_keys(cfg.get(f'{split}_evaluator'), f'{split}_evaluator')


def type_name(node: dict) -> str:
    """The type of a config node without its scope: ``'CocoDataset'`` of ``'mmdet.CocoDataset'``."""
    return str(node.get('type', '')).rpartition('.')[2]


def is_remote(node: dict) -> bool:
    """Whether a data set or evaluator reads through another storage backend than local files."""
    backend = (node.get('backend_args') or {}).get('backend', 'local')
    return backend not in ('local', 'disk', 'LocalBackend')


def _leaves(dataset: dict, key: str) -> Iterator[tuple[dict, str]]:
    if isinstance(dataset.get('dataset'), dict):  # RepeatDataset, MultiImageMixDataset, ...
        yield from _leaves(dataset['dataset'], f'{key}.dataset')
    for inner, where in _with_keys(dataset.get('datasets'), f'{key}.datasets'):  # ConcatDataset
        yield from _leaves(inner, where)
    if 'dataset' not in dataset and 'datasets' not in dataset:
        yield dataset, key


def _with_keys(value: Any, key: str) -> Iterator[tuple[dict, str]]:
    """A dict, or the dicts of a list, each with its config key."""
    if isinstance(value, dict):
        yield value, key
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            if isinstance(item, dict):
                yield item, f'{key}.{index}'


def dataset_roots(cfg: Config) -> list[str]:
    """The folders that the data sets of a config name as ``data_root``, each once."""
    roots = [dataset.get('data_root') for dataset, _ in iter_datasets(cfg)]
    return list(dict.fromkeys(r.rstrip('/') for r in roots if isinstance(r, str) and r))


def is_root_used(cfg: Config) -> bool:
    """Whether a path of the data sets or evaluators begins with ``cfg.data_root``.

    Returns:
        True also where the variable is empty, because any path may begin with it.
    """
    root = cfg.data_root.rstrip('/')
    texts = (text for key in _DATA_KEYS if key in cfg for text in _strings(cfg[key]))
    return not root or any(f'{text}/'.startswith(f'{root}/') for text in texts)


def move_data_root(cfg: Config, new_root: str) -> None:
    """Replaces the folder ``cfg.data_root`` in every path of the data sets and evaluators.

    Where no path begins with it, the one folder that all data sets name is replaced.
    """
    old, new = cfg.data_root.rstrip('/'), new_root.rstrip('/') or '/'
    if not is_root_used(cfg) and len(roots := dataset_roots(cfg)) == 1:
        old = roots[0]
    for name in _DATA_KEYS:
        if name in cfg and cfg.data_root:
            cfg[name] = _replace_root(cfg[name], old, new)
        elif name in cfg:
            _add_root(cfg[name], new)
    cfg.data_root = new_root


def _replace_root(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        for key in value:
            value[key] = _replace_root(value[key], old, new)
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(_replace_root(item, old, new) for item in value)
    if isinstance(value, str) and f'{value}/'.startswith(f'{old}/'):
        return new + value[len(old) :]
    return value


def _add_root(value: Any, new: str) -> None:
    """Fills an empty ``data_root`` of data sets, and puts it before the paths of evaluators."""
    if isinstance(value, (list, tuple)):
        for item in value:
            _add_root(item, new)
    elif isinstance(value, dict):
        if value.get('data_root') == '':
            value['data_root'] = new
        for name in EVALUATOR_PATHS:
            path = value.get(name)
            if 'data_root' not in value and isinstance(path, str) and path and '://' not in path:
                value[name] = os.path.join(new, path)  # an absolute path stays as it is
        for item in value.values():
            _add_root(item, new)


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, (dict, list, tuple)):
        for item in node.values() if isinstance(node, dict) else node:
            yield from _strings(item)
