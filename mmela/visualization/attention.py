"""Attention maps: how they are recorded and laid over an image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from torch import nn

from mmela.visualization.gates import gate_maps, record_layers


@contextmanager
def record_attention(model: nn.Module) -> Iterator[dict[str, list[np.ndarray]]]:
    """Records the attention maps of all attentions of mmela while the context is open.

    An attention map is the product of a layer's gates, ``y_h * y_w`` for ELA, averaged over the
    channels. For SE and ECA, which gate channels alone, it is constant. The hooks are removed when
    the context closes, after an error too.

    Args:
        model: Any network; one without attention gives an empty record.

    Yields:
        For each layer by name, in the order of first use, one array of shape (N, H, W), values in
        (0, 1), per forward pass.

    Examples:
        >>> from mmela import ELA
        >>> layer = nn.Sequential(ELA(32, variant='T'))
        >>> with record_attention(layer) as maps:
        ...     _ = layer(torch.rand(2, 32, 6, 8))
        >>> maps['0'][0].shape
        (2, 6, 8)
    """
    with record_layers(model, lambda layer, x: gate_maps(layer, x).product) as record:
        yield record


def overlay_attention(image: np.ndarray, attention: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Lays an attention map over its image.

    The colours run from the lowest value of this map, blue, to its highest, red, so they compare
    places but not images or layers.

    Args:
        image: BGR, uint8 of shape (H, W, 3), as the network saw it, padding included.
        attention: Attention map of shape (h, w).
        alpha: Weight of the colours over the image.

    Returns:
        BGR, uint8 of shape (H, W, 3).
    """
    height, width = image.shape[:2]
    low, high = float(attention.min()), float(attention.max())
    levels = 255 * (attention - low) / max(high - low, 1e-12)
    levels = cv2.resize(levels.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    heat = cv2.applyColorMap(np.clip(levels, 0, 255).astype(np.uint8), cv2.COLORMAP_JET)
    return cv2.addWeighted(heat, alpha, image, 1 - alpha, 0)
