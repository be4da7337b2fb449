"""What the JSON beside an exported network says: its preprocessing, and what its outputs mean."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from mmela.analysis.input_shape import test_pipeline
from mmela.engine.toolboxes import scope_of
from mmela.errors import UserError

#: Steps of a test pipeline that change the image and that ``tools/deployment/run_onnx.py`` knows.
STEPS = ('Resize', 'ResizeEdge', 'CenterCrop', 'Pad')


def settings_of(cfg: Config, model: Any, height: int, width: int, dynamic: bool) -> dict[str, Any]:
    """What has to be done to an image first, and what the outputs mean.

    Args:
        cfg: The config.
        model: The network, with the ``dataset_meta`` of its checkpoint.
        height: Of the input in pixels.
        width: Of the input in pixels.
        dynamic: Whether the file takes other sizes too.

    Returns:
        Plain values, to be written as JSON.

    Raises:
        UserError: If the test pipeline changes the image in a way that cannot be described.
    """
    preprocessor = model.data_preprocessor
    normalises = getattr(preprocessor, '_enable_normalize', False)
    mean, std = (
        (getattr(preprocessor, name).flatten().tolist() for name in ('mean', 'std'))
        if normalises
        else ([0.0] * 3, [1.0] * 3)
    )
    test_cfg = getattr(preprocessor, 'test_cfg', None) or {}
    divisor = getattr(preprocessor, 'pad_size_divisor', None) or test_cfg.get('size_divisor')
    pad_value = getattr(preprocessor, 'pad_value', getattr(preprocessor, 'pad_val', 0))
    return {
        'task': scope_of(cfg),
        'input': {
            'height': height,
            'width': width,
            'layout': 'NCHW',
            'dtype': 'float32',
            'dynamic': dynamic,
            'divisor': int(divisor or 1),
        },
        'channels': 'RGB'
        if getattr(preprocessor, '_channel_conversion', False)
        or getattr(preprocessor, 'to_rgb', False)
        else 'BGR',
        'mean': mean,
        'std': std,
        'pad_value': float(pad_value),
        'pipeline': _steps(cfg),
        'classes': list(model.dataset_meta['classes']),
        **_meaning(model),
    }


def _steps(cfg: Config) -> list[dict[str, Any]]:
    """The steps of the test pipeline that change the image."""
    steps = []
    for step in test_pipeline(cfg):
        kind = str(step['type']).rpartition('.')[2]
        if kind in STEPS:
            steps.append(dict(step))
        elif not kind.startswith(('Load', 'Pack')):
            raise UserError(
                f'test_dataloader.dataset.pipeline: expected {", ".join(STEPS)} between loading '
                f'and packing, got {kind}, which the JSON beside the file cannot describe; replace '
                'it in a config that inherits from this one.'
            )
    return steps


def _meaning(model: Any) -> dict[str, Any]:
    """How the outputs become boxes or labels."""
    if hasattr(model, 'decode_head'):
        # A head with one channel separates two classes at a probability.
        threshold = getattr(model.decode_head, 'threshold', None)
        is_binary = getattr(model.decode_head, 'out_channels', None) == 1
        return {'threshold': float(threshold or 0.5) if is_binary else None}
    if not hasattr(model, 'bbox_head'):
        return {}
    from mmdet.models.dense_heads import YOLOXHead

    test_cfg = model.test_cfg or {}
    is_yolox = isinstance(model.bbox_head, YOLOXHead)
    return {
        'score_thr': test_cfg.get('score_thr', 0.3),
        'nms': dict(test_cfg.get('nms', {})),
        'max_per_img': test_cfg.get('max_per_img'),
        # YOLOX keeps the best class of a position and what lies outside the image.
        'multi_label': not is_yolox,
        'clip': not is_yolox,
    }
