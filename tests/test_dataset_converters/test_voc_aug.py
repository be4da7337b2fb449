"""SBD to VOC12Aug, and the converters of the toolboxes that do it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS, init_default_scope
from pascal_voc import voc_aug
from pascal_voc.toolbox import load_converter
from PIL import Image
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix
from voc_files import write_jpeg

from mmela.engine import UserError, load_config

VOC12AUG = 'mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py'


@pytest.mark.parametrize('place', ['toolbox/.mim/tools', 'tools'], ids=['wheel', 'checkout'])
def test_a_converter_is_found_in_a_wheel_and_in_a_checkout(place, tmp_path, monkeypatch):
    (tmp_path / 'toolbox').mkdir()
    (tmp_path / 'toolbox/__init__.py').write_text('')
    script = tmp_path / place / 'dataset_converters' / 'convert.py'
    script.parent.mkdir(parents=True)
    script.write_text('answer = 42\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert load_converter('toolbox', 'convert.py').answer == 42


def test_a_converter_that_is_not_there_is_one_sentence():
    with pytest.raises(UserError, match=r'nope\.py does not exist in .*\.mim'):
        load_converter('mmdet', 'nope.py')
    with pytest.raises(UserError, match='mmnothing is not installed'):
        load_converter('mmnothing', 'pascal_voc.py')


def write_sbd_mask(path, labels):
    """As in the download: a struct `GTcls` with a label map, boundaries and the classes in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    present = np.unique(labels[labels > 0]).astype(np.uint8)[:, None]
    boundaries = np.empty((20, 1), dtype=object)
    for index in range(20):
        boundaries[index, 0] = csc_matrix(labels == index + 1)
    mask = dict(Boundaries=boundaries, Segmentation=labels, CategoriesPresent=present)
    savemat(path, {'GTcls': mask}, do_compression=True)


@pytest.fixture
def sbd(tmp_path):
    """VOC with images a, b for training and v for validation; SBD has b, v and, new, z and n."""
    rng = np.random.default_rng(0)
    voc = tmp_path / 'VOCdevkit' / 'VOC2012'
    lists = voc / 'ImageSets' / 'Segmentation'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text('a\nb\n')
    (lists / 'val.txt').write_text('v\n')
    (voc / 'SegmentationClass').mkdir()
    for name in 'abv':
        mask = Image.fromarray(rng.integers(0, 21, (40, 60), dtype=np.uint8))
        mask.putpalette(np.repeat(np.arange(256), 3).tolist())  # VOC's masks are palette images
        mask.save(voc / 'SegmentationClass' / f'{name}.png')
    dataset = tmp_path / 'benchmark_RELEASE' / 'dataset'
    for name in 'bvzn':
        labels = rng.integers(0, 21, (40, 60), dtype=np.uint8)
        write_sbd_mask(dataset / 'cls' / f'{name}.mat', labels)
    (dataset / 'train.txt').write_text('z\nb\nv\n')
    (dataset / 'val.txt').write_text('n\n')
    for name in 'abvzn':
        write_jpeg(voc / 'JPEGImages' / f'{name}.jpg')
    return voc, dataset


def run_aug(sbd):
    voc, dataset = sbd
    return voc_aug(voc.parent, dataset.parent)


def test_the_lists_hold_what_sbd_adds_and_never_an_image_of_vocs_validation(sbd):
    made = run_aug(sbd)
    lists = sbd[0] / 'ImageSets' / 'Segmentation'
    assert (lists / 'aug.txt').read_text() == 'n\nz\n'
    assert (lists / 'trainaug.txt').read_text() == 'a\nb\nn\nz\n'
    assert (lists / 'train.txt').read_text() == 'a\nb\n'
    assert (made.aug, made.trainaug, made.converted, made.copied) == (2, 4, 4, 1)
    assert '10582' in ' '.join(made.notes)


def test_each_mask_is_the_label_map_of_sbd(sbd):
    made = run_aug(sbd)
    for name in 'bvzn':
        mat = loadmat(sbd[1] / 'cls' / f'{name}.mat', squeeze_me=True)
        png = np.array(Image.open(made.folder / f'{name}.png'))
        assert np.array_equal(png, mat['GTcls']['Segmentation'].item())


def test_the_voc12aug_config_reads_vocs_masks_and_those_that_sbd_adds(sbd):
    run_aug(sbd)
    cfg = load_config(VOC12AUG, {'data_root': str(sbd[0])})
    init_default_scope('mmseg')
    dataset = cfg.train_dataloader.dataset
    for part in dataset.datasets:
        part.pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    masks = {Path(i['seg_map_path']).stem: i['gt_seg_map'] for i in DATASETS.build(dataset)}
    assert set(masks) == set('abzn')
    for name, mask in masks.items():
        folder = 'SegmentationClass' if name in 'ab' else 'SegmentationClassAug'
        assert np.array_equal(mask, np.array(Image.open(sbd[0] / folder / f'{name}.png')))


def test_every_image_of_trainaug_has_a_mask_in_the_one_folder(sbd):
    folder = run_aug(sbd).folder
    names = (sbd[0] / 'ImageSets/Segmentation/trainaug.txt').read_text().split()
    assert all((folder / f'{name}.png').is_file() for name in names)
    # SBD has none of `a`: its mask is VOC's own.
    own = sbd[0] / 'SegmentationClass' / 'a.png'
    assert (folder / 'a.png').read_bytes() == own.read_bytes()


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-20])


SBD_ERRORS = {
    'VOC2012 itself': (
        lambda v, d: None,
        ('VOCdevkit/VOC2012', 'benchmark_RELEASE'),
        'did you mean',
    ),
    'above the devkit': (lambda v, d: None, ('', 'benchmark_RELEASE'), 'did you mean'),
    'dataset itself': (
        lambda v, d: None,
        ('VOCdevkit', 'benchmark_RELEASE/dataset'),
        'did you mean',
    ),
    'above the release': (lambda v, d: None, ('VOCdevkit', ''), 'did you mean'),
    'no mask': (
        lambda v, d: (d / 'cls/n.mat').unlink(),
        ('VOCdevkit', 'benchmark_RELEASE'),
        '1 of 4 masks of SBD are missing',
    ),
    'mask cut short': (
        lambda v, d: cut_short(d / 'cls/z.mat'),
        ('VOCdevkit', 'benchmark_RELEASE'),
        'z.mat is not a mask of SBD',
    ),
    'no image': (
        lambda v, d: (v / 'JPEGImages/z.jpg').unlink(),
        ('VOCdevkit', 'benchmark_RELEASE'),
        '1 of 5 images are missing',
    ),
    'no validation image': (
        lambda v, d: (v / 'JPEGImages/v.jpg').unlink(),
        ('VOCdevkit', 'benchmark_RELEASE'),
        'v.jpg: unpack',
    ),
    'no JPEG at all': (
        lambda v, d: (v / 'JPEGImages/z.jpg').write_bytes(b''),
        ('VOCdevkit', 'benchmark_RELEASE'),
        'z.jpg',
    ),
    'a file in the way': (
        lambda v, d: (v / 'SegmentationClassAug').write_text(''),
        ('VOCdevkit', 'benchmark_RELEASE'),
        'cannot be created',
    ),
    'another image': (
        lambda v, d: write_jpeg(v / 'JPEGImages/z.jpg', 50, 30),
        ('VOCdevkit', 'benchmark_RELEASE'),
        'different data sets',
    ),
    'no list': (
        lambda v, d: (d / 'val.txt').unlink(),
        ('VOCdevkit', 'benchmark_RELEASE'),
        'val.txt does not exist',
    ),
}


@pytest.mark.parametrize(('spoil', 'named', 'shown'), SBD_ERRORS.values(), ids=SBD_ERRORS)
def test_an_invalid_sbd_is_one_sentence_and_status_2(spoil, named, shown, sbd, tmp_path, command):
    spoil(*sbd)
    status, _, err = command('voc_aug.py', *(tmp_path / name for name in named))
    message = err[err.index('error: ') :]
    assert status == 2 and shown in message and 'Traceback' not in err


def test_truncated_images_are_reported(sbd, tmp_path, command):
    cut_short(sbd[0] / 'JPEGImages' / 'v.jpg')
    status, out, _ = command('voc_aug.py', tmp_path / 'VOCdevkit', tmp_path / 'benchmark_RELEASE')
    assert status == 0
    assert 'aug.txt: 2 images, trainaug.txt: 4' in out
    assert '1 images are truncated' in out and 'v.jpg' in out
