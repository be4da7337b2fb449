"""Synthetic batches for networks of the toolboxes."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config

from mmela.engine.toolboxes import scope_of
from mmela.errors import UserError

#: Objects per image in detection.
BOXES = 8


def make_inputs(
    cfg: Config, shape: tuple[int, int], batch: int, device: torch.device
) -> dict[str, Any]:
    """Makes a batch as a dataloader returns it, on the device.

    Args:
        cfg: The config; its scope determines the kind of labels.
        shape: Height and width.
        batch: Number of images.
        device: Device of images and labels.

    Returns:
        ``inputs``, uint8 images of shape (3, H, W), and ``data_samples``.

    Raises:
        UserError: If there are no synthetic inputs for the toolbox of the config.
    """
    makers = {'mmdet': _detection, 'mmseg': _segmentation, 'mmpretrain': _classification}
    scope = scope_of(cfg)
    if scope not in makers:
        raise UserError(f"default_scope: expected one of {', '.join(makers)}, got '{scope}'.")
    generator = torch.Generator().manual_seed(0)
    images, samples = [], []
    for _ in range(batch):
        image = torch.randint(256, (3, *shape), dtype=torch.uint8, generator=generator)
        images.append(image.to(device))
        samples.append(makers[scope](cfg.model, shape, generator).to(device))
    return dict(inputs=images, data_samples=samples)


def prepare_model(model_cfg: Any, shape: tuple[int, int]) -> None:
    """Removes downloads and whatever changes the size of a batch from a model, in place.

    Args:
        model_cfg: ``model`` of a config.
        shape: Height and width of the inputs.
    """
    preprocessor = model_cfg.get('data_preprocessor') or {}
    if preprocessor.get('batch_augments'):
        preprocessor['batch_augments'] = None
    if preprocessor.get('size'):
        preprocessor['size'] = shape
    _drop_pretrained(model_cfg)


def _drop_pretrained(node: Any) -> None:
    if isinstance(node, dict):
        if isinstance(node.get('pretrained'), str):
            node['pretrained'] = None
        if isinstance(node.get('init_cfg'), dict) and node['init_cfg'].get('type') == 'Pretrained':
            node['init_cfg'] = None
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, (dict, list, tuple)):
            _drop_pretrained(child)


def _metainfo(shape: tuple[int, int]) -> dict[str, Any]:
    sizes = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), shape)
    return dict(**sizes, scale_factor=(1.0, 1.0))


def _detection(model_cfg: Any, shape: tuple[int, int], generator: torch.Generator) -> Any:
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    height, width = shape
    corners = torch.rand(BOXES, 2, generator=generator) * 0.7
    sides = 0.05 + torch.rand(BOXES, 2, generator=generator) * 0.25
    boxes = torch.cat([corners, corners + sides], 1)
    scale = torch.tensor([width, height, width, height])
    labels = torch.randint(_classes(model_cfg), (BOXES,), generator=generator)
    sample = DetDataSample(metainfo=_metainfo(shape))
    sample.gt_instances = InstanceData(bboxes=boxes * scale, labels=labels)
    sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=labels[:0])
    return sample


def _segmentation(model_cfg: Any, shape: tuple[int, int], generator: torch.Generator) -> Any:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    labels = torch.randint(_classes(model_cfg), (1, *shape), generator=generator)
    return SegDataSample(metainfo=_metainfo(shape), gt_sem_seg=PixelData(data=labels))


def _classification(model_cfg: Any, shape: tuple[int, int], generator: torch.Generator) -> Any:
    from mmpretrain.structures import DataSample

    label = torch.randint(_classes(model_cfg), (1,), generator=generator)
    return DataSample(metainfo=_metainfo(shape)).set_gt_label(label)


def _classes(model_cfg: Any) -> int:
    """The smallest ``num_classes`` of a model, so that labels below it are valid for every head."""
    found: list[int] = []
    _find_classes(model_cfg, found)
    return min(found, default=1)


def _find_classes(node: Any, found: list[int]) -> None:
    if isinstance(node, dict) and isinstance(node.get('num_classes'), int):
        found.append(node['num_classes'])
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, (dict, list, tuple)):
            _find_classes(child, found)
