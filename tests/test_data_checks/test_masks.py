"""Segmentation masks that contradict the config: refused with files, values and the conversion."""

import cv2
import numpy as np
import pytest

from mmela.engine import UserError
from mmela.engine.checks.dataset import check_dataset_content


def rewrite(shapes, change, suffix='.png', pattern='*.png'):
    """Rewrites the masks, each as a function of its values; returns the files."""
    files = sorted((shapes / 'SegmentationClass').glob(pattern))
    for file in files:
        from PIL import Image

        mask = change(np.array(Image.open(file)))
        file.unlink()
        assert cv2.imwrite(str(file.with_suffix(suffix)), mask)
    return files


def two_classes(cfg):
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.metainfo = dict(classes=('background', 'shape'))
    cfg.model.decode_head.num_classes = 2
    return cfg


def test_whole_data_gives_no_word(seg, find):
    faults, warnings = find(seg, every=False)
    assert (faults, warnings) == ('', '')


def test_values_beyond_the_classes_are_refused_with_file_and_values(seg, shapes, find):
    rewrite(shapes, lambda mask: np.where(mask == 3, 200, mask).astype('uint8'))
    faults, _ = find(seg, 'train')
    assert 'train_dataloader.dataset.data_prefix.seg_map_path' in faults
    assert 'outside the 7 classes (0 to 6 and 255' in faults and '200' in faults
    assert 'SegmentationClass/train_0' in faults


def test_0_and_255_for_two_classes_are_refused(seg, shapes, find):
    rewrite(shapes, lambda mask: np.where(mask > 0, 255, 0).astype('uint8'))
    faults, _ = find(two_classes(seg))
    assert "255 is ignored, so that 'shape' would never be trained" in faults
    assert 'save 1 in place of 255' in faults


def test_classes_numbered_from_1_are_refused_with_the_key(seg, shapes, find):
    rewrite(shapes, lambda mask: (mask + 1).astype('uint8'))
    faults, _ = find(seg, 'train')
    assert '--cfg-options train_dataloader.dataset.reduce_zero_label=True' in faults


def test_reduce_zero_label_where_0_is_a_class_is_refused(seg, find):
    seg.train_dataloader.dataset.reduce_zero_label = True
    faults, _ = find(seg, 'train')
    assert "'background' be ignored" in faults
    assert '--cfg-options train_dataloader.dataset.reduce_zero_label=False' in faults


def test_reduce_zero_label_where_0_is_none_is_accepted(seg, shapes, find):
    rewrite(shapes, lambda mask: np.where(mask == 0, 0, mask).astype('uint8'))
    dataset = seg.train_dataloader.dataset
    dataset.reduce_zero_label = True
    dataset.metainfo = dict(classes=seg.metainfo.classes[1:])
    seg.model.decode_head.num_classes = 6
    assert find(seg, 'train')[0] == ''


def test_masks_of_ignored_pixels_alone(seg, shapes, find):
    rewrite(shapes, lambda mask: np.full_like(mask, 255), pattern='train_000000.png')
    faults, warnings = find(seg, 'train')
    assert not faults and '1 of 8 masks hold ignored pixels alone' in warnings
    rewrite(shapes, lambda mask: np.full_like(mask, 255))
    assert '8 of 8 masks hold ignored pixels alone' in find(seg, 'train')[0]


def test_colours_in_place_of_numbers_are_refused(seg, shapes, find):
    rewrite(shapes, lambda mask: np.stack([mask] * 3, axis=-1))
    faults, _ = find(seg, 'train')
    assert '8 of 8 masks have 3 channels' in faults and 'palette' in faults


def test_jpeg_masks_are_refused(seg, shapes, find):
    rewrite(shapes, lambda mask: mask * 30, suffix='.jpg')
    for split in ('train', 'val'):
        seg[f'{split}_dataloader'].dataset.seg_map_suffix = '.jpg'
    assert 'are JPEG files' in find(seg, 'train')[0]


def test_masks_of_another_size_than_the_image_are_refused(seg, shapes, find):
    rewrite(shapes, lambda mask: mask[:32, :48], pattern='train_000003.png')
    faults, _ = find(seg, 'train')
    assert '1 of 8 masks have another size' in faults
    assert '48x32 where' in faults and 'train_000003.jpg has 64x64' in faults


def test_missing_masks_name_the_suffix_to_set(seg, shapes, find):
    rewrite(shapes, lambda mask: mask, suffix='.bmp')
    faults, _ = find(seg, 'train')
    assert 'seg_map_suffix=.bmp' in faults and '(sample 0) does not exist' in faults


def test_a_class_without_a_pixel_is_warned_of_by_the_full_look_alone(seg, shapes, find):
    rewrite(shapes, lambda mask: np.where(mask == 6, 0, mask).astype('uint8'))
    assert 'no mask of 8 has a pixel of cross' in find(seg, 'train')[1]
    assert find(seg, 'train', every=False) == ('', '')


@pytest.mark.parametrize(
    ('content', 'told'),
    [
        ('train_000000\n\ntrain_000001\n', 'has blank lines (2)'),
        ('train_000000\ntrain_000001\n\n', 'has blank lines (3)'),
        ('\ufefftrain_000000\n', 'UTF-8 with a byte order mark: save it as UTF-8 without BOM'),
        ('', 'is empty'),
    ],
)
def test_a_list_with_what_is_no_name_is_refused(content, told, seg, shapes, find):
    path = shapes / 'ImageSets/Segmentation/train.txt'
    path.write_text(content)
    faults, _ = find(seg)
    assert 'train_dataloader.dataset.ann_file' in faults and str(path) in faults and told in faults


def test_names_with_suffix_in_a_list_are_refused(seg, shapes, find):
    path = shapes / 'ImageSets/Segmentation/train.txt'
    path.write_text('train_000000.jpg\n')
    assert 'the list names files without suffix' in find(seg, 'train')[0]


def test_images_of_another_suffix_name_the_key(seg, shapes, find):
    for image in (shapes / 'JPEGImages').glob('*.jpg'):
        image.rename(image.with_suffix('.JPG'))
    faults, _ = find(seg)
    assert '8 of 8 images do not exist (8 are there with the suffix .JPG)' in faults
    assert '--cfg-options train_dataloader.dataset.img_suffix=.JPG' in faults
    seg.train_dataloader.dataset.ann_file = ''  # the folder is listed then
    assert "ends in '.jpg': set img_suffix" in find(seg, 'train')[0]


def test_num_classes_of_the_heads_is_compared(seg, find):
    seg.model.decode_head.num_classes = 2
    seg.model.auxiliary_head = [dict(type='FCNHead', num_classes=19), dict(type='FCNHead')]
    faults, _ = find(seg, 'train')
    assert 'has 7 classes' in faults
    assert 'model.decode_head.num_classes of FCNHead is 2' in faults
    assert '--cfg-options model.decode_head.num_classes=7 model.auxiliary_head.0.num_c' in faults


def test_one_output_channel_for_two_classes_is_accepted(seg, shapes, find):
    rewrite(shapes, lambda mask: (mask > 0).astype('uint8'))
    cfg = two_classes(seg)
    cfg.model.decode_head.out_channels = 1
    assert find(cfg) == ('', '')


def test_a_segmenter_is_refused_before_the_start(seg, shapes):
    rewrite(shapes, lambda mask: mask + 100)
    with pytest.raises(UserError, match='outside the 7 classes'):
        check_dataset_content(seg, ('train', 'val'))
