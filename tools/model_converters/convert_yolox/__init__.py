"""Turns YOLOX checkpoints of others into ones that MMDetection loads.

Two sources: the YOLOX of ELA's authors (Xuwei86/ELA_Code, ``YOLOX/logs``, ``YOLOX/model_data``) and
Megvii's own releases (Megvii-BaseDetection/YOLOX). Only names change; what differs in preprocessing
is said by a config, see ``docs/authors_checkpoint.md``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from convert_yolox.configs import (
    PREPROCESSING_OF_ELA_CODE,
    config_for,
    pictures_of,
)
from convert_yolox.files import (
    check_target,
    read_lines,
    write_checkpoint,
)
from convert_yolox.weights import ConvertedYOLOX, convert_weights, some
from mmela.engine.checks.environment import check_environment
from mmela.engine.checks.weights import check_checkpoint
from mmela.engine.notices import without_onedl_notice
from mmela.errors import UserError

__all__ = ['ConvertedYOLOX', 'convert_weights', 'convert_yolox']

#: Where a checkpoint may keep its weights; otherwise it is the state dict itself.
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
        source: A checkpoint by Megvii's names; only tensors and plain values are read from it.
        target: The file to write: ``state_dict``, and ``meta`` with the class names and, where it
            is known, the preprocessing, of which the report on loaded weights makes use.
        from_ela_code: Whether it comes from the authors of ELA, and not from Megvii: then there
            may be attention in it, and its pictures were normalised.
        classes_file: Text file with one class name a line. Without it, 20 classes are taken for
            Pascal VOC's and 80 for COCO's, in the order that MMDetection and both sources share.
        overwrite: Whether ``target`` may exist.
        trust: Whether to run the code that ``source`` may hold.

    Returns:
        What was converted, what was dropped and what was left out, in lines for a person.

    Raises:
        UserError: If a file is in the way or cannot be used, or ``source`` is no such checkpoint.
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
    if from_ela_code:  # of Megvii's it is not known: there are legacy models
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
            f'pictures: {pictures_of(from_ela_code)}',
            f'{target}: {size / 1e6:.1f} MB, for {config}',
        ]
    )


def _find_weights(checkpoint: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """The state dict in a checkpoint, and the names of what else is there."""
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
            f"tensors by their names are expected, in the file itself or under 'model', and "
            f'{some(strange)} {"are none" if len(strange) > 1 else "is none"}.'
        )
    return weights, others


def _dataset_meta(num_classes: int, classes_file: str | None) -> tuple[dict[str, Any], str]:
    """The names of the classes as MMEngine's checkpoints keep them, and a line about them."""
    if classes_file is not None:
        classes = read_lines(classes_file)
        if len(classes) != num_classes:
            raise UserError(
                f'the network has {num_classes} classes, and {classes_file} names {len(classes)}.'
            )
        return {'classes': classes}, f'{num_classes}, from {classes_file}'
    if num_classes not in (20, 80):
        return {}, f'{num_classes}, their names are not known; --classes FILE says them'
    check_environment('mmdet')
    with without_onedl_notice():
        from mmdet.datasets import CocoDataset, VOCDataset

    dataset = VOCDataset if num_classes == 20 else CocoDataset
    return (
        dict(dataset.METAINFO),
        f"{num_classes}, taken for those of MMDetection's {dataset.__name__} in their order; "
        '--classes FILE says others',
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
