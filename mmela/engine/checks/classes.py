"""Compares the classes that a detection config names with its annotation files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mmengine.config import Config

from mmela.engine.dataset_configs import is_remote, iter_datasets
from mmela.errors import UserError, did_you_mean, listed

#: Larger files, in bytes, are not read: it would take many seconds.
_LARGEST_FILE = 50_000_000


def check_classes(cfg: Config, splits: Sequence[str]) -> None:
    """Checks that the annotation files of a detection config have the classes that it names.

    MMDetection drops classes that the file lacks without a message. Data sets without named classes
    and annotation files other than JSON of at most 50 MB are not checked.

    Raises:
        UserError: If a class is not in the file, or the file is not valid JSON.
    """
    if cfg.get('default_scope') == 'mmdet':
        for dataset, key in iter_datasets(cfg, splits):
            _check_dataset(dataset, key)


def _check_dataset(dataset: dict, key: str) -> None:
    metainfo = dataset.get('metainfo')
    classes = metainfo.get('classes') if isinstance(metainfo, dict) else None
    if isinstance(classes, str) and not os.path.isfile(classes):
        raise UserError(
            f'{key}.metainfo.classes: expected a tuple of names, got the text {classes!r}, whose '
            f'letters would each be a class; write one class as classes=({classes!r},).'
        )
    ann_file = dataset.get('ann_file')
    if not isinstance(classes, (list, tuple)) or not isinstance(ann_file, str):
        return
    path = os.path.join(dataset.get('data_root') or '', ann_file)
    if is_remote(dataset) or not path.endswith('.json') or not os.path.isfile(path):
        return
    if os.path.getsize(path) > _LARGEST_FILE:
        return
    names = _category_names(path, os.path.getmtime(path))
    missing = [name for name in classes if names and name not in names]
    if missing:
        raise UserError(
            f'{key}.metainfo.classes names {len(missing)} of {len(classes)} classes that '
            f'{os.path.abspath(path)} does not have: '
            f'{listed([_with_hint(name, names) for name in missing])}; their boxes would be '
            f'dropped. The file has {listed([repr(name) for name in names])}. '
            'If that is meant: --no-data-check.'
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
            f'{os.path.abspath(path)} is not valid JSON or is truncated ({error}); replace it.'
        ) from error
    categories = content.get('categories') if isinstance(content, dict) else None
    if not isinstance(categories, list):
        return ()
    return tuple(str(c['name']) for c in categories if isinstance(c, dict) and 'name' in c)
