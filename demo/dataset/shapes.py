"""The classes of the demo data set and their outlines."""

from __future__ import annotations

import numpy as np

CLASSES = ('disc', 'square', 'triangle', 'star', 'ring', 'cross')

# RGB of the segmentation maps: the background, then one colour a class.
PALETTE = (
    (0, 0, 0),
    (228, 87, 86),
    (76, 120, 168),
    (84, 162, 75),
    (238, 202, 59),
    (178, 121, 162),
    (114, 183, 178),
)


def _polygon(radii: list[float], phase: float = 0.0) -> np.ndarray:
    """Corners at equal angles, the first at ``phase`` radians, as (len(radii), 2)."""
    angles = phase + 2 * np.pi * np.arange(len(radii)) / len(radii)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.asarray(radii)[:, None]


def _cross(half_width: float) -> np.ndarray:
    """The 12 corners of a plus sign that fits the unit circle."""
    end = np.sqrt(1 - half_width**2)
    arm = np.array([[half_width, half_width], [half_width, end], [-half_width, end]])
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return np.concatenate([arm @ np.linalg.matrix_power(quarter, k) for k in range(4)])


_OUTLINES = {
    'disc': [_polygon([1.0] * 48)],
    'square': [_polygon([1.0] * 4)],
    'triangle': [_polygon([1.0] * 3)],
    'star': [_polygon([1.0, 0.45] * 5)],
    'ring': [_polygon([1.0] * 48), _polygon([0.55] * 48)],
    'cross': [_cross(0.3)],
}


def outline(name: str) -> list[np.ndarray]:
    """The outline of a class inside the unit circle.

    Args:
        name: One of ``CLASSES``.

    Returns:
        Closed polygons of shape (K, 2), x before y. The second one of a ring
        is its hole.
    """
    return [polygon.copy() for polygon in _OUTLINES[name]]


def area(polygons: list[np.ndarray]) -> float:
    """The area of an outline, holes taken off, in squared units of its coordinates."""

    def shoelace(points: np.ndarray) -> float:
        following = np.roll(points, -1, axis=0)
        return 0.5 * abs(np.sum(points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]))

    return shoelace(polygons[0]) - sum(shoelace(hole) for hole in polygons[1:])
