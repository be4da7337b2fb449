"""Boxes, masks and contact sheets, drawn with OpenCV; all images are BGR and uint8."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BAR = 22  # height of a caption in pixels


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[int],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    scores: Sequence[float] | None = None,
) -> np.ndarray:
    """Draws boxes with their classes and scores.

    Args:
        image: Image of shape (H, W, 3).
        boxes: Shape (K, 4), as x1, y1, x2, y2 in pixels.
        labels: K indices into ``classes``.
        classes: Names of the classes.
        palette: An RGB colour for each class.
        scores: K confidences, or None for the ground truth.

    Returns:
        A new image of the same shape.
    """
    image = image.copy()
    for index, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        x1, y1, x2, y2 = (round(float(value)) for value in box)
        colour = tuple(int(value) for value in reversed(palette[label]))
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, 2)
        text = classes[label] if scores is None else f'{classes[label]} {scores[index]:.2f}'
        (width, height), _ = cv2.getTextSize(text, _FONT, 0.4, 1)
        left = max(min(x1, image.shape[1] - width), 0)
        bottom = max(y1, height + 3)
        cv2.rectangle(image, (left, bottom - height - 3), (left + width, bottom), colour, -1)
        cv2.putText(image, text, (left, bottom - 2), _FONT, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return image


def draw_mask(
    image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], alpha: float = 0.6
) -> np.ndarray:
    """Colours the pixels of an image by class.

    Args:
        image: Image of shape (H, W, 3).
        labels: Class of every pixel, shape (H, W); 0 is background and is not coloured.
        palette: An RGB colour for each class, background included.
        alpha: Weight of the colours over the image.

    Returns:
        A new image of the same shape.
    """
    colours = np.asarray(palette, np.uint8)[:, ::-1][labels]
    blended = cv2.addWeighted(colours, alpha, image, 1 - alpha, 0)
    return np.where((labels > 0)[..., None], blended, image)


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], gap: int = 4
) -> np.ndarray:
    """Arranges images of one size in rows under a line of titles.

    Args:
        rows: Rows of images, one for each title.
        titles: A title for each column.
        gap: White pixels between images.

    Returns:
        The sheet.
    """
    height, width = rows[0][0].shape[:2]
    sheet_height, sheet_width = _BAR + len(rows) * (height + gap), len(titles) * (width + gap) - gap
    sheet = np.full((sheet_height, sheet_width, 3), 255, np.uint8)
    for column, title in enumerate(titles):
        left = column * (width + gap)
        cv2.putText(sheet, title, (left + 2, 15), _FONT, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        for row, images in enumerate(rows):
            top = _BAR + row * (height + gap)
            sheet[top : top + height, left : left + width] = images[column]
    return sheet
