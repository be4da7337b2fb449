"""From downloads to what the configs read: VOC XML to COCO JSON, and SBD to VOC12Aug."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, init_default_scope
from pascal_voc import voc_aug, voc_to_coco
from pascal_voc.toolbox import load_converter
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix

from mmela.engine import UserError, load_config

ROOT = Path(__file__).parents[1]
BCCD = ROOT.parent / 'shared' / 'data' / 'bccd'
CONFIGS = ROOT / 'configs'
VOC12AUG = 'mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py'
#: In the order of http://host.robots.ox.ac.uk/pascal/VOC/voc2007/, which is the alphabet's.
VOC_CLASSES = (
    'aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike '
    'person pottedplant sheep sofa train tvmonitor'
).split()


def write_jpeg(path, width=60, height=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)


def voc_object(name, box, difficult=0):
    corners = ''.join(
        f'<{tag}>{value}</{tag}>'
        for tag, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
    )
    flag = '' if difficult is None else f'<difficult>{difficult}</difficult>'
    part = f'<part><name>head</name><bndbox>{corners}</bndbox></part>'
    return f'<object><name>{name}</name>{flag}<bndbox>{corners}</bndbox>{part}</object>'


def write_voc(folder, images, **lists):
    for name, objects in images.items():
        write_jpeg(folder / 'JPEGImages' / f'{name}.jpg')
        xml = folder / 'Annotations' / f'{name}.xml'
        xml.parent.mkdir(parents=True, exist_ok=True)
        size = '<size><width>60</width><height>40</height><depth>3</depth></size>'
        xml.write_text(f'<annotation>{size}{"".join(objects)}</annotation>')
    for split, names in lists.items():
        path = folder / 'ImageSets' / 'Main' / f'{split}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(''.join(f'{name}\n' for name in names))


@pytest.fixture
def devkit(tmp_path):
    """What occurs in VOC: coordinates with a decimal point, difficult objects, parts of objects."""
    root = tmp_path / 'VOCdevkit'
    write_voc(
        root / 'VOC2007',
        {
            '000001': [voc_object('dog', (11, 6, 31, 26))],
            '000002': [voc_object('cat', (1, 1, 60, 40)), voc_object('dog', (5, 5, 9, 9), 1)],
            '000003': [voc_object('person', (7, 8, 7, 30)), voc_object('car', (2, 2, 20, 20))],
        },
        trainval=['000001', '000002'],
        test=['000003'],
    )
    write_voc(
        root / 'VOC2012',
        {'2011_000001': [voc_object('train', (11.0, 6.5, 45.70000076293945, 26), None)]},
        trainval=['2011_000001'],
    )
    return root


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a tool; returns its exit status, what it printed, and what it wrote to stderr."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        try:
            status = runpy.run_path(str(ROOT / 'tools' / 'dataset_converters' / name))['main']()
        except SystemExit as exit_:
            status = exit_.code
        return status, *capsys.readouterr()

    return run


def boxes_of(path):
    """Class names, boxes and crowd flags by image."""
    coco = COCO(str(path))
    return {
        image['file_name']: sorted(
            (coco.cats[a['category_id']]['name'], tuple(a['bbox']), a['iscrowd'])
            for a in coco.imgToAnns[image['id']]
        )
        for image in coco.imgs.values()
    }


# --- VOC XML to COCO JSON ------------------------------------------------------------------------


def test_a_devkit_becomes_the_files_that_the_toolboxs_coco_format_config_names(devkit):
    files = {file.path for file in voc_to_coco(devkit)}
    folder = devkit / 'annotations'
    names = 'voc07_trainval voc07_test voc12_trainval voc0712_trainval'.split()
    assert files == {folder / f'{name}.json' for name in names}
    cfg = load_config('mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712-cocofmt.py')
    wanted = [cfg.train_dataloader.dataset.dataset.ann_file, cfg.val_dataloader.dataset.ann_file]
    assert all((devkit / name).is_file() for name in wanted)


def test_boxes_start_at_zero_and_are_written_as_corner_and_size(devkit):
    voc_to_coco(devkit)
    assert boxes_of(devkit / 'annotations' / 'voc0712_trainval.json') == {
        'VOC2007/JPEGImages/000001.jpg': [('dog', (10, 5, 20, 20), 0)],
        'VOC2007/JPEGImages/000002.jpg': [
            ('cat', (0, 0, 59, 39), 0),
            ('dog', (4, 4, 4, 4), 1),  # difficult: neither right nor wrong to find
        ],
        'VOC2012/JPEGImages/2011_000001.jpg': [('train', (10, 5, 34, 20), 0)],
    }


def test_categories_are_the_twenty_of_voc_in_its_order(devkit):
    voc_to_coco(devkit)
    coco = json.loads((devkit / 'annotations' / 'voc07_test.json').read_text())
    assert [category['name'] for category in coco['categories']] == VOC_CLASSES


def test_both_formats_give_the_same_boxes_in_training(devkit):
    init_default_scope('mmdet')
    voc_to_coco(devkit)
    common = dict(data_root=str(devkit), pipeline=[])
    voc = DATASETS.build(
        dict(
            type='VOCDataset',
            ann_file='VOC2007/ImageSets/Main/trainval.txt',
            data_prefix=dict(sub_data_root='VOC2007/'),
            **common,
        )
    )
    coco = DATASETS.build(
        dict(
            type='CocoDataset',
            ann_file='annotations/voc07_trainval.json',
            data_prefix=dict(img=''),
            metainfo=dict(classes=tuple(VOC_CLASSES)),
            **common,
        )
    )
    assert len(voc) == len(coco) == 2
    for left, right in zip(voc, coco, strict=True):
        assert Path(left['img_path']) == Path(right['img_path'])
        items = [
            [(i['bbox_label'], i['ignore_flag'], *map(float, i['bbox'])) for i in side['instances']]
            for side in (left, right)
        ]
        assert sorted(items[0]) == sorted(items[1])


def test_perfect_detections_have_an_ap_of_one(devkit):
    """With an annotation id 0 or a box without area pycocotools would count one as missed."""
    voc_to_coco(devkit)
    for name in ('voc07_trainval', 'voc07_test'):
        truth = COCO(str(devkit / 'annotations' / f'{name}.json'))
        found = [
            dict(image_id=a['image_id'], category_id=a['category_id'], bbox=a['bbox'], score=0.9)
            for a in truth.dataset['annotations']
        ]
        evaluation = COCOeval(truth, truth.loadRes(found), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1)


def test_a_box_without_area_is_left_out_and_reported(devkit, command):
    status, out, _ = command('voc_to_coco.py', devkit)
    assert status == 0
    assert 'voc07_test.json: 1 images, 1 boxes\n' in out
    assert 'left out: boxes without area in the image: person in 000003' in out
    assert 'voc07_trainval.json: 2 images, 3 boxes, 1 of them difficult' in out


def test_custom_data_keeps_its_classes_and_bare_names(tmp_path, command):
    write_voc(
        tmp_path,
        {'a': [voc_object('nut', (1, 1, 9, 9))], 'b': [voc_object('bolt', (1, 1, 9, 9))]},
        train=['a'],
        val=['b'],
    )
    status, _, err = command('voc_to_coco.py', tmp_path)
    assert status == 2 and '--classes bolt nut' in err
    status, _, _ = command('voc_to_coco.py', tmp_path, '-o', tmp_path / 'x', '--classes', 'nut')
    assert status == 0
    assert boxes_of(tmp_path / 'x/instances_train.json') == {'a.jpg': [('nut', (0, 0, 8, 8), 0)]}
    assert boxes_of(tmp_path / 'x/instances_val.json') == {'b.jpg': []}


def test_the_image_that_is_there_is_taken_whatever_its_suffix(tmp_path, command):
    names = {'a': 'a.png', 'b': 'b.JPG', 'c': 'c.jpeg'}
    objects = {stem: [voc_object('nut', (1, 1, 9, 9))] for stem in names}
    write_voc(tmp_path, objects, train=[*names])
    for stem, name in names.items():
        (tmp_path / 'JPEGImages' / f'{stem}.jpg').rename(tmp_path / 'JPEGImages' / name)
    assert command('voc_to_coco.py', tmp_path, '--classes', 'nut')[0] == 0
    assert {*boxes_of(tmp_path / 'annotations/instances_train.json')} == {*names.values()}


@pytest.mark.parametrize(
    'classes, shown',
    [(['nut', 'blot'], "did you mean 'bolt'"), (['nut,bolt'], 'Separate the names with spaces')],
)
def test_a_class_without_annotations_is_a_user_error(classes, shown, tmp_path, command):
    objects = [voc_object('nut', (1, 1, 9, 9)), voc_object('bolt', (1, 1, 9, 9))]
    write_voc(tmp_path, {'a': objects}, train=['a'])
    status, _, err = command('voc_to_coco.py', tmp_path, '--classes', *classes)
    assert status == 2 and shown in err
    assert not (tmp_path / 'annotations').exists()


@pytest.mark.skipif(not BCCD.is_dir(), reason='shared data not found')
def test_bccd_is_converted_as_an_independent_conversion_did(tmp_path):
    folder = BCCD / 'VOCdevkit' / 'VOC2007'
    files = voc_to_coco(folder, tmp_path, ['RBC', 'WBC', 'Platelets'])
    shown = ' '.join(note for file in files for note in file.notes)
    assert 'BloodImage_00338' in shown and 'BloodImage_00343' in shown
    for split in ('train', 'val', 'test'):
        ours = boxes_of(tmp_path / f'instances_{split}.json')
        theirs = boxes_of(BCCD / 'annotations' / f'instances_{split}.json')
        # VOC's corners are pixels inside the box: MMDetection's boxes are one pixel smaller.
        grown = {
            name: sorted((c, (x, y, w + 1, h + 1), crowd) for c, (x, y, w, h), crowd in boxes)
            for name, boxes in ours.items()
        }
        assert grown == theirs


def break_list(devkit):
    with open(devkit / 'VOC2007/ImageSets/Main/trainval.txt', 'a') as file:
        file.write('\n')


def repeat_name(devkit):
    with open(devkit / 'VOC2007/ImageSets/Main/trainval.txt', 'a') as file:
        file.write('000001\n')


VOC_ERRORS = {
    'one folder too high': (lambda d: None, '', 'did you mean'),
    'no such folder': (lambda d: None, 'nope', 'does not exist'),
    'no annotation': (
        lambda d: (d / 'VOC2007/Annotations/000002.xml').unlink(),
        'VOCdevkit',
        '1 of 2 annotations are missing',
    ),
    'no image': (
        lambda d: (d / 'VOC2012/JPEGImages/2011_000001.jpg').unlink(),
        'VOCdevkit',
        '2011_000001.jpg: ',
    ),
    'annotation cut short': (
        lambda d: (d / 'VOC2007/Annotations/000001.xml').write_text('<annotation><object>'),
        'VOCdevkit',
        '000001.xml is not an XML file',
    ),
    'a word for a number': (
        lambda d: (d / 'VOC2007/Annotations/000001.xml').write_text(
            f'<annotation>{voc_object("dog", ("a", 1, 2, 3))}</annotation>'
        ),
        'VOCdevkit',
        'a coordinate or size',
    ),
    'an empty line': (break_list, 'VOCdevkit', 'line 3 of'),
    'a name twice': (repeat_name, 'VOCdevkit', 'names 000001 2 times'),
}


@pytest.mark.parametrize(('spoil', 'named', 'shown'), VOC_ERRORS.values(), ids=VOC_ERRORS)
def test_an_invalid_devkit_is_one_sentence_and_status_2(spoil, named, shown, devkit, command):
    spoil(devkit)
    status, _, err = command('voc_to_coco.py', devkit.parent / named)
    message = err[err.index('error: ') :]
    assert status == 2 and shown in message and 'Traceback' not in err


def test_a_truncated_image_is_reported(devkit):
    path = devkit / 'VOC2007' / 'JPEGImages' / '000002.jpg'
    path.write_bytes(path.read_bytes()[:-6])
    notes = {file.path.stem: ' '.join(file.notes) for file in voc_to_coco(devkit)}
    assert '000002.jpg' in notes['voc07_trainval'] and 'truncated' in notes['voc07_trainval']
    assert notes['voc12_trainval'] == ''


# --- the toolboxes' converters -------------------------------------------------------------------


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


# --- SBD to VOC12Aug -----------------------------------------------------------------------------


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


# --- the VOC07+12 config -------------------------------------------------------------------------


def test_yolox_nano_trains_on_both_trainvals_and_is_tested_on_voc07(devkit):
    cfg = load_config(CONFIGS / 'det/yolox/yolox_nano_voc0712.py', {'data_root': str(devkit)})
    init_default_scope('mmdet')
    train = DATASETS.build(cfg.train_dataloader.dataset)
    test = DATASETS.build(cfg.test_dataloader.dataset)
    names = [train.dataset.get_data_info(i)['img_id'] for i in range(len(train))]
    assert names == ['000001', '000002', '2011_000001']
    assert [test.get_data_info(i)['img_id'] for i in range(len(test))] == ['000003']
    for dataset in (train, test):
        assert list(dataset.metainfo['classes']) == VOC_CLASSES
    assert cfg.model.bbox_head.num_classes == 20
    # A mosaic of four images.
    assert tuple(train[0]['inputs'].shape) == (3, 640, 640)
