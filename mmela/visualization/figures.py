"""Figures of maps over an image, with a colour bar, drawn by Matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_PANEL = 2.4  # inches


class Panel(NamedTuple):
    """A map over an image."""

    title: str
    values: np.ndarray  #: shape (h, w), of any resolution
    limits: tuple[float, float] | None  #: of the colour scale; None stretches it to the values


def map_figure(image: np.ndarray, rows: Mapping[str, Sequence[Panel]], title: str = '') -> Figure:
    """Draws maps over one image, a row of panels for each name.

    Every panel has a colour bar and says in its title between which values its map runs, so that
    a map from 0.24 to 0.29 does not look like one from 0 to 1.

    Args:
        image: RGB, uint8 of shape (H, W, 3).
        rows: Panels by the name of their row.
        title: Of the figure.

    Returns:
        The figure.
    """
    columns = 1 + max((len(panels) for panels in rows.values()), default=0)
    height, width = image.shape[:2]
    panel = _PANEL, _PANEL * height / width
    figure = Figure(
        figsize=(columns * panel[0] * 1.25, max(len(rows), 1) * (panel[1] + 0.5) + 0.3),
        layout='constrained',
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(len(rows), 1), columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for line, (name, panels) in zip(axes, rows.items(), strict=False):
        line[0].imshow(image)
        line[0].set_title(name, fontsize=7)
        for ax, item in zip(line[1:], panels, strict=False):
            low, high = item.limits or (float(item.values.min()), float(item.values.max()))
            ax.imshow(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cmap='gray', vmin=0, vmax=255)
            drawn = ax.imshow(
                np.broadcast_to(item.values, item.values.shape),
                cmap='viridis',
                alpha=0.6,
                vmin=low,
                vmax=max(high, low + 1e-6),
                extent=(-0.5, width - 0.5, height - 0.5, -0.5),
                interpolation='bilinear',
            )
            drawn.set_alpha(0.6)
            found = f'{item.values.min():.2f} to {item.values.max():.2f}'
            ax.set_title(f'{item.title}\n{found}', fontsize=7)
            bar = figure.colorbar(drawn, ax=ax, fraction=0.046, pad=0.02)
            bar.ax.tick_params(labelsize=6)
    if title:
        figure.suptitle(title, fontsize=8)
    return figure
