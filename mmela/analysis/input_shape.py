"""The input size that a config tests at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmela.engine.config import scope_of
from mmela.engine.dataset_configs import leaf_datasets
from mmela.errors import UserError

#: Resizing to this scale leaves few COCO images 1333 px long; papers and MMDetection give the
#: figures of these networks at 1280 x 800.
_COCO_SCALE, _COCO_SHAPE = (800, 1333), (800, 1280)


def input_shape(cfg: Config) -> tuple[int, int]:
    """The size of the images that a network is tested with.

    Segmentation: the crop of the training, since test images come in any size. Otherwise what the
    test pipeline resizes, crops and pads to, a landscape image where it keeps the ratio; for
    MMDetection's usual 1333 x 800 that is 800 x 1280.

    Args:
        cfg: A config of :func:`mmela.engine.load_config`.

    Returns:
        Height and width in pixels, padded as the data preprocessor does.

    Raises:
        UserError: If the config names no size.
    """
    scope = scope_of(cfg)
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    shape = None
    if scope == 'mmseg':
        shape = preprocessor.get('size') or cfg.get('crop_size')
    shape = _pair(shape) if shape else _of_pipeline(_test_pipeline(cfg))
    if shape is None:
        raise UserError(
            f'{cfg.filename or "the config"} does not say which size it tests at; give one: '
            '--shape H W.'
        )
    divisor = preprocessor.get('pad_size_divisor') or 1
    height, width = (math.ceil(side / divisor) * divisor for side in shape)
    return height, width


def _test_pipeline(cfg: Config) -> Sequence[Mapping[str, Any]]:
    dataset = (cfg.get('test_dataloader') or {}).get('dataset')
    if isinstance(dataset, dict):
        for leaf, _ in leaf_datasets(dataset, 'test_dataloader.dataset'):
            if leaf.get('pipeline'):
                return leaf['pipeline']
    return cfg.get('test_pipeline') or []


def _of_pipeline(pipeline: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """The size that the steps of a pipeline leave; they name sizes as (width, height)."""
    shape: tuple[int, int] | None = None
    for step in pipeline:
        kind = str(step.get('type')).rpartition('.')[2]
        if kind == 'Resize' and step.get('scale'):
            width, height = _pair(step['scale'])
            shape = height, width
            if step.get('keep_ratio'):
                shape = min(shape), max(shape)
                shape = _COCO_SHAPE if shape == _COCO_SCALE else shape
        elif kind in ('Pad', 'ELACodeLetterbox') and step.get('size'):
            width, height = _pair(step['size'])
            shape = height, width
        elif kind == 'Pad' and step.get('pad_to_square') and shape:
            shape = max(shape), max(shape)
        elif kind == 'CenterCrop':
            width, height = _pair(step['crop_size'])
            shape = height, width
    return shape


def _pair(size: Any) -> tuple[int, int]:
    first, second = (size, size) if isinstance(size, int) else size
    return int(first), int(second)
