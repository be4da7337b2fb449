"""Image files: suffixes, damage, orientation, size and depth."""

import cv2
import numpy as np
import pytest
from PIL import Image

ORIENTATION = 0x0112


def turn(path, orientation, size=None):
    """Marks a JPEG as one that is to be turned when it is shown."""
    image = Image.open(path)
    image = image.resize(size) if size else image
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image.save(path, exif=exif)


@pytest.fixture
def image(shapes):
    return shapes / 'JPEGImages' / 'train_000002.jpg'


def test_an_image_that_is_turned_on_loading_is_warned_of(det, image, find):
    turn(image, 6)
    faults, warnings = find(det, 'train')
    # The square image turned has the size of the annotations either way.
    assert not faults and not warnings
    turn(image, 3)
    faults, warnings = find(det, 'train')
    assert not faults and str(image) in warnings and 'EXIF' in warnings
    assert 'exif_transpose' in warnings and "color_type='color_ignore_orientation'" in warnings


def test_an_image_whose_annotations_are_not_turned_is_warned_of(det, image, edit, find):
    def change(width, height):
        def of(content):
            content['images'][2].update(width=width, height=height)

        return of

    turn(image, 6, size=(64, 48))
    edit(change(64, 48))
    assert '1 of 8 images are rotated on loading' in find(det, 'train')[1]
    assert cv2.imread(str(image)).shape[:2] == (64, 48)  # OpenCV turns it indeed
    edit(change(48, 64))  # annotations of the image as it is shown
    assert 'turned' not in ''.join(find(det, 'train'))
    edit(change(64, 48))
    det.train_dataloader.dataset.pipeline[0].color_type = 'color_ignore_orientation'
    assert 'turned' not in ''.join(find(det, 'train'))


def test_a_turned_image_with_its_mask_as_stored_is_refused(seg, image, find):
    turn(image, 6, size=(64, 48))
    mask = image.parents[1] / 'SegmentationClass' / 'train_000002.png'
    cv2.imwrite(str(mask), np.zeros((48, 64), np.uint8))
    faults, _ = find(seg, 'train')
    assert 'has 48x64 (its EXIF orientation turns it on loading)' in faults


DAMAGE = {
    'empty': (lambda file: file.write_bytes(b''), 'is empty (0 bytes)'),
    'truncated': (lambda file: file.write_bytes(file.read_bytes()[:-20]), 'is truncated'),
    'no image': (
        lambda file: file.write_text('<html>404'),
        "is not an image (it begins with b'<html>",
    ),
    'missing': (lambda file: file.unlink(), 'do not exist'),
}


@pytest.mark.parametrize(('damage', 'told'), DAMAGE.values(), ids=DAMAGE)
def test_a_broken_image_is_named_with_its_index(damage, told, det, seg, image, find):
    damage(image)
    for cfg in (det, seg):
        faults, _ = find(cfg, 'train')
        assert f'{image} (sample 2)' in faults and told in faults and '1 of 8 images' in faults


def test_the_start_sees_in_headers_what_it_can(det, image, find):
    image.write_bytes(b'')
    assert f'{image} (sample 2) is empty' in find(det, 'train', every=False)[0]


def test_images_of_one_pixel_and_black_16_bit_ones_are_warned_of(seg, image, find):
    mask = image.parents[1] / 'SegmentationClass' / 'train_000002.png'
    Image.new('RGB', (1, 1)).save(image)
    Image.new('L', (1, 1)).save(mask)
    faults, warnings = find(seg, 'train')
    assert not faults and f'1 of 8 images are of 1x1 pixels: {image}' in warnings


@pytest.mark.parametrize(('top', 'is_black'), [(255, True), (40_000, False)])
def test_16_bit_images_that_become_black_are_warned_of(top, is_black, det, image, edit, find):
    deep = image.with_suffix('.png')
    pixels = np.full((64, 64), top, np.uint16)
    cv2.imwrite(str(deep), pixels)
    assert (cv2.imread(str(deep)).max() == 0) == is_black
    edit(lambda c: c['images'][2].update(file_name=deep.name))
    faults, warnings = find(det, 'train')
    assert not faults and ('become black' in warnings) == is_black


def test_a_suffix_that_differs_from_the_annotations_is_named(det, shapes, find):
    for file in (shapes / 'JPEGImages').glob('train*.jpg'):
        file.rename(file.with_suffix('.jpeg'))
    faults, _ = find(det, 'train')
    assert '(8 are there with the suffix .jpeg)' in faults
    assert 'correct each file_name in' in faults
