"""Boxes and masks land where they belong."""

import numpy as np
import pytest

from mmela.visualization import contact_sheet, draw_boxes, draw_mask

CLASSES = ('disc', 'ring')
PALETTE = ((200, 10, 20), (30, 40, 220))


@pytest.fixture
def image():
    return np.zeros((64, 96, 3), np.uint8)


def test_a_box_is_drawn_in_the_colour_of_its_class(image):
    drawn = draw_boxes(image, np.array([[10, 30, 50, 60]]), [1], CLASSES, PALETTE, [0.5])
    assert drawn[45, 10].tolist() == list(PALETTE[1])[::-1]
    assert not drawn[45, 30].any()
    assert not image.any(), 'the input must not change'


def test_without_boxes_the_image_does_not_change(image):
    assert np.array_equal(draw_boxes(image, np.zeros((0, 4)), [], CLASSES, PALETTE), image)


def test_a_mask_colours_its_pixels_and_leaves_the_background(image):
    labels = np.zeros((64, 96), np.uint8)
    labels[:32] = 1
    drawn = draw_mask(image + 100, labels, ((0, 0, 0), (200, 10, 20)), alpha=1.0)
    assert drawn[0, 0].tolist() == [20, 10, 200]
    assert drawn[63, 0].tolist() == [100, 100, 100]


def test_a_sheet_holds_every_image_under_its_title(image):
    sheet = contact_sheet([[image, image + 50], [image + 100, image + 150]], ['a', 'b'], gap=4)
    assert sheet.shape[1] == 2 * 96 + 4
    assert sheet[-5, 50].tolist() == [100] * 3
    assert sheet[-5, -1].tolist() == [150] * 3
    assert sheet[0, 100:104].tolist() == [[255] * 3] * 4
