"""``mmela export``: a trained network as an ONNX file that runs without torch, and is checked."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmela.analysis.input_shape import input_shape
from mmela.commands.look import Looker
from mmela.engine.toolboxes import scope_of
from mmela.errors import UserError

#: What ONNX Runtime and TensorRT both take; GroupNorm becomes InstanceNormalization there.
OPSET = 17
_INPUT = 'images'


class Exported(NamedTuple):
    """What was written, and how ONNX Runtime compares with PyTorch."""

    file: str
    settings: str  #: the JSON beside it, with the preprocessing
    outputs: list[str]
    #: The largest absolute difference from PyTorch, by the shape of the input.
    differences: dict[tuple[int, ...], float]


class DetectorOutputs(nn.Module):
    """The boxes and scores of a one-stage detector before suppression.

    Args:
        model: A detector with a dense head.
    """

    names = ('boxes', 'scores')

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Runs the network.

        Args:
            images: Preprocessed images of shape (N, 3, H, W).

        Returns:
            Boxes of shape (N, K, 4), (x1, y1, x2, y2) in pixels of the input, and scores of shape
            (N, K, classes), for all K positions.
        """
        head = self.model.bbox_head
        outputs = head(self.model.extract_feat(images))
        classes, boxes = outputs[0], outputs[1]
        factors = outputs[2] if len(outputs) > 2 else None
        sizes = [level.shape[2:] for level in classes]
        is_yolox = hasattr(head, '_bbox_decode')
        options = dict(with_stride=True) if is_yolox else {}
        priors = torch.cat(
            head.prior_generator.grid_priors(
                sizes, dtype=images.dtype, device=images.device, **options
            )
        )
        logits = _flat(classes, head.cls_out_channels)
        is_sigmoid = is_yolox or head.use_sigmoid_cls
        scores = logits.sigmoid() if is_sigmoid else logits.softmax(-1)[..., :-1]
        if factors is not None:
            scores = scores * _flat(factors, 1).sigmoid()
        deltas = _flat(boxes, 4)
        if is_yolox:
            return head._bbox_decode(priors, deltas), scores
        n = deltas.size(0)
        decoded = head.bbox_coder.decode(priors.repeat(n, 1), deltas.reshape(-1, 4))
        return decoded.reshape(n, -1, 4), scores


class SegmenterOutputs(nn.Module):
    """The logits of a segmenter.

    Args:
        model: A segmenter.
    """

    names = ('logits',)

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (N, classes, H, W) for images of shape (N, 3, H, W)."""
        logits = self.model.decode_head(self.model.extract_feat(images))
        return nn.functional.interpolate(
            logits, images.shape[2:], mode='bilinear', align_corners=self.model.align_corners
        )


class ClassifierOutputs(nn.Module):
    """The scores of a classifier.

    Args:
        model: A classifier.
    """

    names = ('scores',)

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Scores of shape (N, classes), which sum up to 1, for images of shape (N, 3, H, W)."""
        scores: Tensor = self.model(images).softmax(1)
        return scores


_TASKS: dict[str, type[nn.Module]] = {
    'mmdet': DetectorOutputs,
    'mmseg': SegmenterOutputs,
    'mmpretrain': ClassifierOutputs,
}


def export(
    cfg: Config,
    checkpoint: str,
    out: str,
    *,
    dynamic: bool = False,
    opset: int = OPSET,
    shape: tuple[int, int] | None = None,
) -> Exported:
    """Writes a trained network as ONNX, with its preprocessing in a JSON file beside it.

    Args:
        cfg: A config of :func:`mmela.engine.load_config`.
        checkpoint: A checkpoint file.
        out: The file to write, ``.onnx``.
        dynamic: Whether batch, height and width stay open.
        opset: Version of the operator set.
        shape: Height and width of the input; None means what the config tests at.

    Returns:
        What was written. The file was run by ONNX Runtime, a dynamic one at three sizes.

    Raises:
        UserError: If the network cannot be exported, or the packages are missing.
    """
    if not out.endswith('.onnx'):
        raise UserError(f'--out: expected a name that ends in .onnx, got {out}.')
    scope = scope_of(cfg)
    if scope not in _TASKS:
        raise UserError(
            f'expected a config of detection, segmentation or classification, got one of {scope}.'
        )
    looker = Looker(cfg, checkpoint, 'cpu')
    _check_kind(looker.model)
    model = _TASKS[scope](looker.model).eval()
    names: Any = model.names
    height, width = shape or input_shape(cfg)
    images = torch.rand(1, 3, height, width)
    axes = {0: 'n', 2: 'h', 3: 'w'}
    outputs = {name: {0: 'n', **({1: 'k'} if scope == 'mmdet' else {})} for name in names}
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter('ignore')
            torch.onnx.export(
                model,
                (images,),
                out,
                input_names=[_INPUT],
                output_names=list(names),
                opset_version=opset,
                dynamic_axes={_INPUT: axes, **outputs} if dynamic else None,
                **_legacy(),
            )
    except ImportError as error:
        raise UserError(
            f"exporting needs the packages onnx and onnxruntime ({error}): `pip install 'mmela"
            "[export]'`."
        ) from error
    settings = str(Path(out).with_suffix('.json'))
    Path(settings).write_text(json.dumps(_settings(cfg, looker.model, height, width), indent=2))
    return Exported(out, settings, list(names), _compare(model, out, images, dynamic))


def _check_kind(model: Any) -> None:
    if hasattr(model, 'roi_head'):
        raise UserError(
            f'{type(model).__name__} is a two-stage detector, which mmela export does not take; '
            'use MMDeploy with its config for ONNX Runtime and `dynamo=False`, see docs/export.md.'
        )
    head = getattr(model, 'bbox_head', None)
    is_dense = hasattr(head, 'prior_generator') and hasattr(head, 'cls_out_channels')
    coder = getattr(head, 'bbox_coder', None)
    if head is not None and not (is_dense and (hasattr(head, '_bbox_decode') or coder)):
        raise UserError(
            f'expected a detector with a dense head whose boxes are decoded from priors, got '
            f'{type(head).__name__}; use MMDeploy, see docs/export.md.'
        )


def _legacy() -> dict[str, Any]:
    """The exporter by tracing, which needs no onnxscript and takes the operators of MMCV."""
    import inspect

    return {'dynamo': False} if 'dynamo' in inspect.signature(torch.onnx.export).parameters else {}


def _flat(levels: Any, channels: int) -> Tensor:
    """Maps (N, A * channels, H, W) of all levels as (N, positions, channels)."""
    n = levels[0].size(0)
    return torch.cat([m.permute(0, 2, 3, 1).reshape(n, -1, channels) for m in levels], 1)


def _compare(model: nn.Module, file: str, images: Tensor, dynamic: bool) -> dict[Any, float]:
    try:
        from onnxruntime import InferenceSession
    except ImportError as error:
        raise UserError(
            f'{file} is written, but not checked ({error}): `pip install onnxruntime`.'
        ) from error
    session = InferenceSession(file, providers=['CPUExecutionProvider'])
    height, width = images.shape[2:]
    sizes = [(1, height, width)]
    if dynamic:
        sizes += [(2, height, width + 32), (1, height + 64, width)]
    differences = {}
    for n, h, w in sizes:
        x = torch.rand(n, 3, h, w)
        with torch.no_grad():
            expected = model(x)
        expected = expected if isinstance(expected, tuple) else (expected,)
        found = session.run(None, {_INPUT: x.numpy()})
        differences[n, 3, h, w] = max(
            float(np.abs(a - b.numpy()).max()) for a, b in zip(found, expected, strict=True)
        )
    return differences


def _settings(cfg: Config, model: Any, height: int, width: int) -> dict[str, Any]:
    """What has to be done to an image first, and what the outputs mean."""
    preprocessor = model.data_preprocessor
    normalises = getattr(preprocessor, '_enable_normalize', False)
    mean, std = (
        (getattr(preprocessor, name).flatten().tolist() for name in ('mean', 'std'))
        if normalises
        else ([0.0] * 3, [1.0] * 3)
    )
    steps = [
        step
        for step in cfg.test_dataloader.dataset.pipeline
        if str(step['type']).rpartition('.')[2] in ('Resize', 'ResizeEdge', 'CenterCrop', 'Pad')
    ]
    meta = getattr(model, 'dataset_meta', None) or {}
    test_cfg = model.test_cfg if hasattr(model, 'bbox_head') else {}
    return {
        'task': scope_of(cfg),
        'input': {'height': height, 'width': width, 'layout': 'NCHW', 'dtype': 'float32'},
        'channels': 'RGB'
        if getattr(preprocessor, '_channel_conversion', False)
        or getattr(preprocessor, 'to_rgb', False)
        else 'BGR',
        'mean': mean,
        'std': std,
        'pad_value': float(getattr(preprocessor, 'pad_value', 0)),
        'pipeline': [dict(step) for step in steps],
        'classes': list(meta.get('classes') or []),
        'score_thr': test_cfg.get('score_thr', 0.3) if test_cfg else None,
        'nms': dict(test_cfg.get('nms', {})) if test_cfg else None,
    }
