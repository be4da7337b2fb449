"""Compares the classes that a config names with those of the annotation files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mmengine.config import Config

from mmela.engine.dataset_configs import is_remote, leaf_datasets
from mmela.errors import UserError, did_you_mean

#: Larger files are not read: it would take many seconds.
_LARGEST_FILE = 50_000_000
_NAMES_SHOWN = 10


def check_classes(cfg: Config, splits: Sequence[str]) -> None:
    """Checks that the annotation files of a detection config have the classes that it names.

    MMDetection leaves out classes that the file lacks without a word. Where a config names none
    itself, and where the file is no JSON of at most 50 MB, nothing is checked.

    Args:
        cfg: The config.
        splits: Any of ``'train'``, ``'val'``, ``'test'``.

    Raises:
        UserError: If a class is not in the file. The message names both sides.
    """
    if cfg.get('default_scope') != 'mmdet':
        return
    for split in splits:
        key = f'{split}_dataloader.dataset'
        dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
        if isinstance(dataset, dict):
            for leaf, where in leaf_datasets(dataset, key):
                _check_leaf(leaf, where)


def _check_leaf(dataset: dict, key: str) -> None:
    metainfo = dataset.get('metainfo')
    classes = metainfo.get('classes') if isinstance(metainfo, dict) else None
    if isinstance(classes, str) and not os.path.isfile(classes):
        raise UserError(
            f'{key}.metainfo.classes is the text {classes!r}, whose letters would each be a class; '
            f'one class is written with a comma: classes=({classes!r},).'
        )
    ann_file = dataset.get('ann_file')
    if not isinstance(classes, (list, tuple)) or not isinstance(ann_file, str):
        return
    if is_remote(dataset) or not ann_file.endswith('.json'):
        return
    path = os.path.join(dataset.get('data_root') or '', ann_file)
    if not os.path.isfile(path) or os.path.getsize(path) > _LARGEST_FILE:
        return
    names = _category_names(path, os.path.getmtime(path))
    lacking = [name for name in classes if names and name not in names]
    if not lacking:
        return
    hints = [_with_hint(name, names) for name in lacking[:_NAMES_SHOWN]]
    more = ', ...' if len(lacking) > _NAMES_SHOWN else ''
    has = ', '.join(map(repr, names[:_NAMES_SHOWN])) + ', ...' * (len(names) > _NAMES_SHOWN)
    raise UserError(
        f'{key}.metainfo.classes names {len(lacking)} of {len(classes)} classes that '
        f'{os.path.abspath(path)} does not have: {", ".join(hints)}{more}; their boxes would be '
        f'missing without a word. The file has {has}. If that is meant: --no-data-check.'
    )


def _with_hint(name: str, names: Sequence[str]) -> str:
    hint = did_you_mean(name, names)
    return repr(name) if hint == '.' else f'{name!r} ({hint[2:]})'


@lru_cache(maxsize=8)
def _category_names(path: str, modified: float) -> tuple[str, ...]:
    """Names of the categories of a COCO file; none if it is another kind of JSON."""
    try:
        with open(path, encoding='utf-8') as file:
            content: Any = json.load(file)
    except ValueError as error:
        raise UserError(
            f'{os.path.abspath(path)} is no JSON file or is cut short ({error}).'
        ) from error
    categories = content.get('categories') if isinstance(content, dict) else None
    if not isinstance(categories, list):
        return ()
    return tuple(str(c['name']) for c in categories if isinstance(c, dict) and 'name' in c)
