"""Rendering of one scene: textured ground, clutter, and shapes that overlap."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

CLASSES = ('disc', 'square', 'triangle', 'star', 'ring', 'cross')

#: RGB of the segmentation maps: the background, then one colour per class.
PALETTE = (
    (0, 0, 0),
    (228, 87, 86),
    (76, 120, 168),
    (84, 162, 75),
    (238, 202, 59),
    (178, 121, 162),
    (114, 183, 178),
)
#: Object diameters as fractions of the image side.
SIZE_RANGE = (0.1, 0.5)
#: Objects with a smaller visible fraction are removed, so that every object in the image is
#: annotated and can be recognised.
MIN_VISIBLE = 0.3
MAX_OBJECTS = 7


@dataclass
class Instance:
    """One object of a scene.

    Attributes:
        label: Index into ``CLASSES``.
        mask: Its visible pixels, bool of shape (size, size).
        visible: Visible fraction of its area, from ``MIN_VISIBLE`` to 1.
    """

    label: int
    mask: np.ndarray
    visible: float


@dataclass
class Scene:
    """An image and its objects.

    Attributes:
        image: BGR, uint8 of shape (size, size, 3).
        instances: From the back to the front; their masks are disjoint.
    """

    image: np.ndarray
    instances: list[Instance]


@dataclass
class _Object:
    label: int
    alpha: np.ndarray  # (size, size) float32, antialiased coverage
    whole_area: float  # in pixels, including parts outside the image


def render_scene(rng: np.random.Generator, size: int = 192) -> Scene:
    """Renders a scene.

    Args:
        rng: The only source of randomness.
        size: Side of the square image in pixels.

    Returns:
        A scene with at least one instance.
    """
    instances: list[Instance] = []
    while not instances:
        objects = [_place_object(rng, size) for _ in range(rng.integers(2, MAX_OBJECTS + 1))]
        objects, instances = _settle(objects)
    image = _texture(rng, size, rng.uniform(0.1, 0.5))
    _scribble(rng, image)
    for item in objects:
        _paint(rng, image, item.alpha)
    return Scene(_expose(rng, image), instances)


def _place_object(rng: np.random.Generator, size: int) -> _Object:
    label = int(rng.integers(len(CLASSES)))
    diameter = size * np.exp(rng.uniform(*np.log(SIZE_RANGE)))
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.diag(rng.uniform(0.85, 1.0, 2))
    centre = rng.uniform(0.05, 0.95, 2) * size
    polygons = [p @ stretch @ turn * diameter / 2 + centre for p in outline(CLASSES[label])]
    canvas = np.zeros((size, size), np.uint8)
    # Four fractional bits place the corners to a sixteenth of a pixel.
    corners = [np.round(polygon * 16).astype(np.int32) for polygon in polygons]
    cv2.fillPoly(canvas, corners, 255, lineType=cv2.LINE_AA, shift=4)
    return _Object(label, canvas.astype(np.float32) / 255, area(polygons))


def _settle(objects: list[_Object]) -> tuple[list[_Object], list[Instance]]:
    """Removes the most hidden object until all that remain are visible enough."""
    objects = list(objects)
    while objects:
        owner = np.full(objects[0].alpha.shape, -1)
        for index, item in enumerate(objects):
            owner[item.alpha >= 0.5] = index
        masks = [owner == index for index in range(len(objects))]
        visible = [
            min(mask.sum() / item.whole_area, 1.0)
            for mask, item in zip(masks, objects, strict=True)
        ]
        worst = int(np.argmin(visible))
        if visible[worst] >= MIN_VISIBLE:
            instances = [
                Instance(item.label, mask, float(part))
                for item, mask, part in zip(objects, masks, visible, strict=True)
            ]
            return objects, instances
        del objects[worst]
    return [], []


def _texture(rng: np.random.Generator, size: int, contrast: float) -> np.ndarray:
    """Coloured noise of three scales around a random colour, float32 (size, size, 3)."""
    image = np.tile(rng.uniform(0.15, 0.85, 3).astype(np.float32), (size, size, 1))
    for cells in (3, 9, 30):
        noise = rng.uniform(-0.5, 0.5, (cells, cells, 3)).astype(np.float32)
        image += contrast * cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
        contrast *= 0.6
    return np.clip(image, 0, 1)


def _scribble(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draws strokes that belong to no class, as clutter."""
    size = len(image)
    for _ in range(rng.integers(0, 7)):
        start = rng.uniform(0, size, 2)
        points = start + np.cumsum(rng.normal(0, size / 12, (6, 2)), axis=0)
        cv2.polylines(
            image,
            [np.round(points).astype(np.int32)],
            False,
            rng.uniform(0, 1, 3).tolist(),
            int(rng.integers(1, 4)),
            cv2.LINE_AA,
        )


def _paint(rng: np.random.Generator, image: np.ndarray, alpha: np.ndarray) -> None:
    """Blends an object of random colour and texture into the image."""
    x, y, width, height = cv2.boundingRect((alpha > 0).astype(np.uint8))
    patch, cover = image[y : y + height, x : x + width], alpha[y : y + height, x : x + width, None]
    ground = (patch * cover).sum((0, 1)) / cover.sum()
    colour = rng.uniform(0, 1, 3)
    while np.abs(colour - ground).max() < 0.3:  # an object must differ from its background
        colour = rng.uniform(0, 1, 3)
    fill = _texture(rng, max(width, height), rng.uniform(0, 0.2))[:height, :width]
    fill += (colour - fill.mean((0, 1))).astype(np.float32)
    patch += cover * (fill - patch)


def _expose(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Adds uneven light, contrast, blur and sensor noise, and rounds to 8 bits."""
    size = len(image)
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    light = rng.uniform(0.6, 1.2) * (1 + slope * (np.cos(angle) * x + np.sin(angle) * y))
    image = (0.5 + rng.uniform(0.6, 1.1) * (image - 0.5)) * light[..., None]
    blur = rng.uniform(0, 1)
    if blur > 0.4:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    image += rng.uniform(0, 0.05) * rng.standard_normal(image.shape, np.float32)
    return np.clip(np.round(image * 255), 0, 255).astype(np.uint8)


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
        Closed polygons of shape (K, 2), x before y. The second polygon of a ring is its hole.
    """
    return [polygon.copy() for polygon in _OUTLINES[name]]


def area(polygons: list[np.ndarray]) -> float:
    """Area of an outline without its holes, in squared units of its coordinates."""

    def shoelace(points: np.ndarray) -> float:
        following = np.roll(points, -1, axis=0)
        return 0.5 * abs(np.sum(points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]))

    return shoelace(polygons[0]) - sum(shoelace(hole) for hole in polygons[1:])
