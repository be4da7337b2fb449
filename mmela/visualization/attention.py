"""Where the attention of a network looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from mmela.attentions import Attention


@contextmanager
def record_attention(model: nn.Module) -> Iterator[dict[str, list[np.ndarray]]]:
    """Records the attention maps of every attention of mmela inside the block.

    An attention map is the product of a layer's gates, ``y_h * y_w`` with ELA, averaged over the
    channels; that of SE and ECA, which gate channels alone, is the same everywhere. The network is
    left as it was when the block ends, also by an error.

    Args:
        model: Any network; one without attention gives an empty record.

    Yields:
        For each layer by name, in the order of their first use, one array of shape (N, H, W),
        values in (0, 1), per forward pass.

    Examples:
        >>> from mmela import ELA
        >>> layer = nn.Sequential(ELA(32, variant='T'))
        >>> with record_attention(layer) as maps:
        ...     _ = layer(torch.rand(2, 32, 6, 8))
        >>> maps['0'][0].shape
        (2, 6, 8)
    """
    record: dict[str, list[np.ndarray]] = {}

    def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            record.setdefault(name, []).append(_attention_map(layer, inputs[0]))

        return hook

    handles = [
        module.register_forward_pre_hook(recorder(name))
        for name, module in model.named_modules()
        if isinstance(module, Attention)
    ]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _attention_map(layer: Attention, x: Tensor) -> np.ndarray:
    product = reduce(torch.mul, layer.gate(x))  # broadcasts against (N, C, H, W)
    return product.mean(1).expand(-1, *x.shape[2:]).float().cpu().numpy()


def overlay_attention(image: np.ndarray, attention: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Lays an attention map over the picture that it belongs to.

    The colours run from the lowest value of this map, blue, to its highest, red: they compare
    places, not pictures or layers.

    Args:
        image: BGR, uint8 of shape (H, W, 3). It has to be what the network saw, padding included.
        attention: Attention map of shape (h, w).
        alpha: Weight of the colours over the picture.

    Returns:
        BGR, uint8 of shape (H, W, 3).
    """
    height, width = image.shape[:2]
    low, high = float(attention.min()), float(attention.max())
    levels = 255 * (attention - low) / max(high - low, 1e-12)
    levels = cv2.resize(levels.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    heat = cv2.applyColorMap(np.clip(levels, 0, 255).astype(np.uint8), cv2.COLORMAP_JET)
    return cv2.addWeighted(heat, alpha, image, 1 - alpha, 0)
