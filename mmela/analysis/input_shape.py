"""The input size that a config tests at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmela.engine.dataset_configs import iter_datasets
from mmela.engine.toolboxes import scope_of
from mmela.errors import UserError

#: Few COCO images are 1333 px long at this scale; papers and MMDetection publish the figures of
#: these networks at 1280 x 800.
_COCO_SCALE, _COCO_SHAPE = (800, 1333), (800, 1280)


def input_shape(cfg: Config) -> tuple[int, int]:
    """The size of the images that a network is tested with.

    In segmentation this is the crop of the training, because test images come in any size.
    Otherwise it is what the test pipeline resizes, crops and pads to, for a landscape image where
    the pipeline keeps the ratio; MMDetection's usual 1333 x 800 becomes 800 x 1280.

    Args:
        cfg: A config of :func:`mmela.engine.load_config`.

    Returns:
        Height and width in pixels, padded as the data preprocessor does.

    Raises:
        UserError: If the config names no size.
    """
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    crop = None
    if scope_of(cfg) == 'mmseg':
        crop = preprocessor.get('size') or cfg.get('crop_size')
    shape = _pair(crop) if crop else _shape_of(test_pipeline(cfg))
    if shape is None:
        raise UserError(
            f'{cfg.filename or "the config"} names no size that it tests at; add --shape H W.'
        )
    divisor = preprocessor.get('pad_size_divisor') or 1
    height, width = (math.ceil(side / divisor) * divisor for side in shape)
    return height, width


def test_pipeline(cfg: Config) -> Sequence[Mapping[str, Any]]:
    """The test pipeline of a config, of its first test set where it joins several.

    Args:
        cfg: A config of :func:`mmela.engine.load_config`.

    Returns:
        The steps; none where the config has no test set.
    """
    pipelines = (dataset.get('pipeline') for dataset, _ in iter_datasets(cfg, ['test']))
    return next(filter(None, pipelines), cfg.get('test_pipeline') or [])


def _shape_of(pipeline: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """The height and width that a pipeline produces; its steps take (width, height)."""
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
