"""An image as a network sees it, and maps that are cropped to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from mmela.visualization.figures import Panel
from mmela.visualization.gates import GateMaps


class View(NamedTuple):
    """An image as a network sees it."""

    batch: dict[str, Any]  #: what the data preprocessor returned for it
    image: np.ndarray  #: RGB, uint8, without padding
    padded: tuple[int, int]  #: height and width of the input
    box: tuple[int, int, int, int]  #: top, bottom, left and right of the image in the input


def view_of(batch: dict[str, Any], preprocessor: Any) -> View:
    """The first image of a batch.

    Args:
        batch: What a data preprocessor of the toolboxes returned.
        preprocessor: The data preprocessor.

    Returns:
        The image without normalisation and padding, and where it lies in the input.
    """
    x = batch['inputs'][0]
    padded = (int(x.size(1)), int(x.size(2)))
    meta = batch['data_samples'][0].metainfo
    height, width = meta.get('img_shape', padded)[:2]
    if 'ori_shape' in meta and 'scale_factor' in meta:
        # What a `Pad` of the pipeline adds counts as image for `img_shape`.
        factor_x, factor_y = meta['scale_factor'][:2]
        height = min(height, round(meta['ori_shape'][0] * factor_y))
        width = min(width, round(meta['ori_shape'][1] * factor_x))
    border = meta.get('border')
    top, bottom, left, right = (0, height, 0, width) if border is None else map(int, border)
    box = (top, bottom, left, right)
    return View(batch, _as_image(x, preprocessor, box), padded, box)


def crop_to_image(values: np.ndarray, padded: tuple[int, int], box: Sequence[int]) -> np.ndarray:
    """Crops a map of a padded input to the image in it.

    Args:
        values: Shape (h, w), of any resolution.
        padded: Height and width of the input in pixels.
        box: Top, bottom, left and right of the image in it.

    Returns:
        The part of the map that covers the image, in pixels of the input.
    """
    height, width = padded
    resized = cv2.resize(
        np.ascontiguousarray(np.broadcast_to(values, values.shape), np.float32),
        (width, height),
        interpolation=cv2.INTER_LINEAR,
    )
    top, bottom, left, right = box
    return resized[top:bottom, left:right]


def gate_panels(maps: GateMaps, stretch: bool) -> list[Panel]:
    """The panels of one layer: its gates, their product, and the factor where it is another."""
    unit = None if stretch else (0.0, 1.0)
    titles = ['row gate', 'column gate'] if len(maps.gates) == 2 else None
    panels = [
        Panel(titles[i] if titles else f'gate {i + 1}', gate, unit)
        for i, gate in enumerate(maps.gates)
    ]
    panels.append(Panel('product', maps.product, unit))
    if not np.array_equal(maps.factor, maps.product):
        panels.append(Panel('factor', maps.factor, None if stretch else (0.0, 2.0)))
    return panels


def cropped(maps: GateMaps, view: View) -> GateMaps:
    """The gates of the first image of a batch, without what lies in the padding."""
    size = maps.product.shape[1:]

    def crop(values: np.ndarray) -> np.ndarray:
        return crop_to_image(np.broadcast_to(values[0], size), view.padded, view.box)

    return GateMaps(tuple(crop(gate) for gate in maps.gates), crop(maps.product), crop(maps.factor))


def _as_image(x: torch.Tensor, preprocessor: Any, box: Sequence[int]) -> np.ndarray:
    """A preprocessed image as RGB and uint8, without its padding."""
    values = x.detach().float().cpu()
    if getattr(preprocessor, '_enable_normalize', False):
        mean, std = (getattr(preprocessor, n).float().cpu().view(-1, 1, 1) for n in ('mean', 'std'))
        values = values * std + mean
    is_rgb = getattr(preprocessor, '_channel_conversion', False) or getattr(
        preprocessor, 'to_rgb', False
    )
    image = values.clamp(0, 255).permute(1, 2, 0).numpy().round().astype(np.uint8)
    if not is_rgb:
        image = image[..., ::-1]
    top, bottom, left, right = box
    return np.ascontiguousarray(image[top:bottom, left:right])
