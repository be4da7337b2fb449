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
from mmela.commands.export_outputs import (
    ClassifierOutputs,
    DetectorOutputs,
    SegmenterOutputs,
    check_kind,
)
from mmela.commands.export_settings import settings_of
from mmela.commands.looker import Looker
from mmela.engine.toolboxes import scope_of
from mmela.errors import UserError, cause_of

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
        checkpoint: A checkpoint file or its address.
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
    check_kind(looker.model)
    height, width = shape or input_shape(cfg)
    settings = settings_of(cfg, looker.model, height, width, dynamic)
    model = _TASKS[scope](looker.model).eval()
    names: Any = model.names
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
    # An unknown operator, an opset that does not exist, or a network that cannot be traced.
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f'{type(looker.model).__name__} cannot be exported with --opset {opset} '
            f'({cause_of(error)}); try --opset {OPSET}, or MMDeploy, see docs/export.md.'
        ) from error
    except ImportError as error:
        raise UserError(
            f"exporting needs the packages onnx and onnxruntime ({error}): `pip install 'mmela"
            "[export]'`."
        ) from error
    beside = Path(out).with_suffix('.json')
    beside.write_text(json.dumps(settings, indent=2), encoding='utf-8')
    return Exported(out, str(beside), list(names), _compare(model, out, images, dynamic))


def _legacy() -> dict[str, Any]:
    """The exporter by tracing, which needs no onnxscript and takes the operators of MMCV."""
    import inspect

    return {'dynamo': False} if 'dynamo' in inspect.signature(torch.onnx.export).parameters else {}


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
