"""Converts YOLOX checkpoints of other code bases for MMDetection.

Two sources: the YOLOX of ELA's authors (Xuwei86/ELA_Code, ``YOLOX/logs``, ``YOLOX/model_data``) and
Megvii's releases (Megvii-BaseDetection/YOLOX). Only names change; a config reproduces the
preprocessing of the source, see ``docs/authors_checkpoint.md``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from checkpoint_files import check_target, read_lines, write_checkpoint
from torch import Tensor

from convert_yolox.configs import PREPROCESSING_OF_ELA_CODE, config_for, images_of
from convert_yolox.weights import ConvertedYOLOX, convert_weights, some
from mmela.engine.checks.environment import check_environment
from mmela.engine.checks.weights import check_checkpoint
from mmela.engine.log import without_onedl_notice
from mmela.errors import UserError

__all__ = ['ConvertedYOLOX', 'convert_weights', 'convert_yolox']

#: Keys of a checkpoint that may hold its weights; otherwise it is the state dict itself.
_WEIGHT_KEYS = ('model', 'state_dict')


def convert_yolox(
    source: str,
    target: str,
    *,
    from_ela_code: bool,
    classes_file: str | None = None,
    overwrite: bool = False,
    trust: bool = False,
) -> str:
    """Converts a checkpoint file.

    Args:
        source: Checkpoint with Megvii's names; only tensors and plain values are read from it.
        target: The file to write: ``state_dict``, and ``meta`` with the class names and, if known,
            the preprocessing, which the report on loaded weights compares with the config.
        from_ela_code: Whether it comes from the authors of ELA instead of Megvii. Then it may hold
            attention, and it was trained on normalised images.
        classes_file: Text file with one class name per line. Without it, 20 classes are assumed to
            be Pascal VOC's and 80 COCO's, in the order that MMDetection and both sources share.
        overwrite: Whether ``target`` may exist.
        trust: Whether to run the code that ``source`` may hold.

    Returns:
        A report on what was converted and what was left out, in lines.

    Raises:
        UserError: If a file cannot be read or written, or ``source`` is not such a checkpoint.
            Nothing is written then.
    """
    check_target(source, target, overwrite)
    checkpoint = check_checkpoint(source, 'the source', trust=trust)
    try:
        weights, others = _find_weights(checkpoint)
        converted = convert_weights(weights, attention=from_ela_code)
        dataset_meta, about_classes = _dataset_meta(converted.num_classes, classes_file)
    except UserError as error:
        raise UserError(f'{source}: {error}') from error
    config = config_for(converted, from_ela_code)
    meta: dict[str, Any] = {'converted_from': os.path.basename(source), 'converted_for': config}
    if from_ela_code:  # Megvii's legacy models make theirs unknown
        meta['data_preprocessor'] = PREPROCESSING_OF_ELA_CODE
    if dataset_meta:
        meta['dataset_meta'] = dataset_meta
    size = write_checkpoint(dict(meta=meta, state_dict=converted.weights), target)
    return '\n'.join(
        [
            f'{source}: {converted.title}',
            f'converted: {_count(converted.weights)}',
            f'dropped: {_dropped(converted.dropped)}',
            f'left in the source: {", ".join(others) or "nothing"}',
            f'classes: {about_classes}',
            f'images: {images_of(from_ela_code)}',
            f'{target}: {size / 1e6:.1f} MB, for {config}',
        ]
    )


def _find_weights(checkpoint: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """The state dict of a checkpoint, and the names of its other entries."""
    for key in _WEIGHT_KEYS:
        if isinstance(checkpoint.get(key), Mapping):
            weights = checkpoint[key]
            others = [str(name) for name in checkpoint if name != key]
            break
    else:
        weights, others = checkpoint, []
    strange = [str(name) for name, value in weights.items() if not isinstance(value, Tensor)]
    if strange:
        raise UserError(
            "expected a dict of tensors, in the file itself or under 'model', got other values for "
            f'{some(strange)}.'
        )
    return weights, others


def _dataset_meta(num_classes: int, classes_file: str | None) -> tuple[dict[str, Any], str]:
    """The class names as in MMEngine's checkpoints, and a line about them for the report."""
    if classes_file is not None:
        classes = read_lines(classes_file)
        if len(classes) != num_classes:
            raise UserError(
                f'--classes: expected {num_classes} names, got {len(classes)} in {classes_file}.'
            )
        return {'classes': classes}, f'{num_classes}, from {classes_file}'
    if num_classes not in (20, 80):
        return {}, f'{num_classes}, names unknown; --classes FILE sets them'
    check_environment('mmdet')
    with without_onedl_notice():
        from mmdet.datasets import CocoDataset, VOCDataset

    dataset = VOCDataset if num_classes == 20 else CocoDataset
    return (
        dict(dataset.METAINFO),
        f"{num_classes}, assumed to be those of MMDetection's {dataset.__name__} in their order; "
        '--classes FILE sets others',
    )


def _count(weights: Mapping[str, Tensor]) -> str:
    attention = sum(name.startswith('neck.ela_') for name in weights)
    parts = f' ({len(weights) - attention} of YOLOX, {attention} of ELA)' if attention else ''
    return f'{len(weights)} tensors{parts}'


def _dropped(names: Sequence[str]) -> str:
    if not names:
        return 'nothing'
    layers = dict.fromkeys('.'.join(name.split('.')[:2]) for name in names)
    return f'{len(names)} tensors of {" and ".join(layers)}, which the source never used'
