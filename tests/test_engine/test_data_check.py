from pathlib import Path

import pytest
from mmengine.config import Config

from mmela.engine import UserError, check_data, load_config

COCO = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
YOLOX = 'mmdet::yolox/yolox_nano_8xb8-300e_coco.py'
VOC_DET = 'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py'
VOC_SEG = 'mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py'


def touch(root, *paths):
    """Makes files, and folders (with a trailing slash) that hold one."""
    for path in paths:
        file = Path(root, path, 'x.jpg') if path.endswith('/') else Path(root, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def complaint(cfg, *splits):
    with pytest.raises(UserError) as error:
        check_data(cfg, splits)
    return str(error.value)


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_coco_that_is_there_is_accepted():
    touch(
        'data/coco',
        'annotations/instances_train2017.json',
        'annotations/instances_val2017.json',
        'train2017/',
        'val2017/',
    )
    check_data(load_config(COCO), ['train', 'val', 'test'])
    check_data(load_config(YOLOX), ['train', 'val', 'test'])


@pytest.mark.parametrize('name', [COCO, YOLOX])
def test_a_missing_root_is_named_with_keys_and_source(tmp_path, name):
    text = complaint(load_config(name), 'train', 'val')
    dataset = 'dataset.dataset' if name == YOLOX else 'dataset'
    assert f'train_dataloader.{dataset}.data_root' in text
    assert 'val_dataloader.dataset.data_root' in text
    assert str(tmp_path / 'data/coco') in text
    assert 'https://cocodataset.org' in text
    assert 'download_dataset.py --dataset-name coco2017' in text
    assert '--cfg-options data_root=' in text


def test_every_missing_file_is_in_one_message_and_no_other(tmp_path):
    touch('data/coco', 'annotations/instances_train2017.json', 'val2017/')
    text = complaint(load_config(COCO), 'train', 'val')
    assert 'train_dataloader.dataset.data_prefix.img: ' in text
    both = 'val_dataloader.dataset.ann_file, val_evaluator.ann_file: '
    assert both + str(tmp_path / 'data/coco/annotations/instances_val2017.json') in text
    assert 'train_dataloader.dataset.ann_file' not in text and 'val2017 ' not in text


def test_an_empty_folder_counts_as_missing(tmp_path):
    touch('data/coco', 'annotations/instances_val2017.json')
    Path('data/coco/val2017').mkdir()
    assert 'val2017 is an empty folder' in complaint(load_config(COCO), 'test')


def test_a_test_looks_for_test_data_alone():
    touch('data/coco', 'annotations/instances_val2017.json', 'val2017/')
    check_data(load_config(COCO), ['test'])


def test_voc_detection_is_checked_through_its_wrappers():
    touch('data/VOCdevkit/VOC2007', 'ImageSets/Main/trainval.txt', 'JPEGImages/')
    text = complaint(load_config(VOC_DET), 'train')
    first, second = (f'train_dataloader.dataset.dataset.datasets.{i}' for i in (0, 1))
    assert f'{first}.ann_subdir' in text and f'{first}.ann_file' not in text
    assert f'{second}.data_prefix.sub_data_root' in text  # and nothing that lies below it
    assert f'{second}.ann_file' not in text
    assert '--dataset-name voc' in text


def test_voc_segmentation_names_the_augmented_masks():
    root = 'data/VOCdevkit/VOC2012'
    touch(root, 'ImageSets/Segmentation/train.txt', 'ImageSets/Segmentation/val.txt')
    touch(root, 'JPEGImages/', 'SegmentationClass/')
    check_data(load_config(VOC_SEG), ['val'])
    text = complaint(load_config(VOC_SEG), 'train')
    assert 'train_dataloader.dataset.datasets.1.ann_file' in text
    assert 'train_dataloader.dataset.datasets.1.data_prefix.seg_map_path' in text
    assert 'datasets.0' not in text
    assert '2_dataset_prepare.html#pascal-voc' in text


def test_the_demo_data_set_is_made_by_a_command(tiny_det, tiny_seg):
    for path in (tiny_det, tiny_seg):
        text = complaint(load_config(path), 'train')
        assert '`python tools/dataset_converters/shapes.py data/shapes`' in text


def test_the_demo_data_set_is_accepted(tiny_det, tiny_seg, shapes_root):
    for path in (tiny_det, tiny_seg):
        check_data(load_config(path, [f'data_root={shapes_root}']), ['train', 'val', 'test'])


def classification(**dataset):
    return Config(dict(default_scope='mmpretrain', train_dataloader=dict(dataset=dataset)))


def test_classification_folders_are_checked():
    cfg = classification(type='ImageNet', data_root='data/imagenet', split='train')
    assert 'data/imagenet does not exist' in complaint(cfg, 'train')
    touch('data/imagenet', 'val/')
    assert 'train_dataloader.dataset.split: ' in complaint(cfg, 'train')
    touch('data/imagenet', 'train/n01440764/', 'meta/train.txt')
    check_data(cfg, ['train'])
    prefixed = classification(type='CustomDataset', data_root='data/imagenet', data_prefix='test')
    assert 'train_dataloader.dataset.data_prefix: ' in complaint(prefixed, 'train')


def test_lists_of_annotation_files_are_checked_one_by_one():
    touch('root', 'a.json')
    cfg = classification(type='X', data_root='root', ann_file=['a.json', 'b.json'])
    text = complaint(cfg, 'train')
    assert 'ann_file.1' in text and 'ann_file.0' not in text


@pytest.mark.parametrize(
    'dataset',
    [
        dict(type='CocoDataset', data_root='s3://bucket/coco', ann_file='a.json'),
        dict(type='X', data_root='no/', backend_args=dict(backend='petrel')),
        dict(type='CIFAR10', data_root='data/cifar10'),
    ],
)
def test_what_is_not_on_this_disk_is_left_alone(dataset):
    check_data(classification(**dataset), ['train'])


def detection(**dataset):
    return Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset)))


def test_a_folder_that_stands_for_an_annotation_file_is_reported():
    touch('root', 'annotations/')
    cfg = detection(type='CocoDataset', data_root='root', ann_file='annotations')
    assert 'annotations is a folder, expected a file' in complaint(cfg, 'train')


@pytest.mark.parametrize(
    ('dataset', 'words'),
    [
        (dict(type='VOCDataset', data_root='', data_prefix='VOC2007/'), 'dict(sub_data_root='),
        (
            dict(type='CocoDataset', data_root=['a', 'b']),
            "data_root: expected a path, got ['a', 'b']",
        ),
        (
            dict(type='CocoDataset', data_prefix=dict(img=['a'])),
            "data_prefix.img: expected a path, got ['a']",
        ),
        (dict(type='CocoDataset', ann_file=3), 'ann_file: expected a path, got 3'),
    ],
)
def test_what_is_not_a_path_is_refused(dataset, words):
    assert words in complaint(detection(**dataset), 'train')
