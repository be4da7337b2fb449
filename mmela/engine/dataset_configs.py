"""The data sets of a config, found inside their wrappers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def leaf_datasets(dataset: dict, key: str) -> Iterator[tuple[dict, str]]:
    """The data sets that read files, below wrappers that repeat, mix or concatenate them.

    Args:
        dataset: The ``dataset`` of a dataloader.
        key: Its config key, such as ``train_dataloader.dataset``.

    Yields:
        Each data set with its config key.
    """
    if isinstance(dataset.get('dataset'), dict):  # RepeatDataset, MultiImageMixDataset, ...
        yield from leaf_datasets(dataset['dataset'], f'{key}.dataset')
    for inner, where in with_keys(dataset.get('datasets'), f'{key}.datasets'):  # ConcatDataset
        yield from leaf_datasets(inner, where)
    if 'dataset' not in dataset and 'datasets' not in dataset:
        yield dataset, key


def with_keys(value: Any, key: str) -> Iterator[tuple[dict, str]]:
    """A dict, or the dicts of a list.

    Args:
        value: Any part of a config.
        key: Its config key.

    Yields:
        Each dict with its config key.
    """
    if isinstance(value, dict):
        yield value, key
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            if isinstance(item, dict):
                yield item, f'{key}.{index}'


def is_remote(node: dict) -> bool:
    """Whether a data set or evaluator reads through a storage backend of its own.

    Args:
        node: Its config.

    Returns:
        False if it reads local files.
    """
    arguments = node.get('backend_args') or {}
    return arguments.get('backend', 'local') not in ('local', 'LocalBackend')
