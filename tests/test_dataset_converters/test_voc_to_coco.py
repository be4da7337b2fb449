"""VOC XML to COCO JSON, and the config that reads VOC07+12."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mmengine.registry import DATASETS, init_default_scope
from pascal_voc import voc_to_coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from voc_files import voc_object, write_voc

from mmela.engine import load_config

ROOT = Path(__file__).parents[2]
BCCD = ROOT.parent / 'shared' / 'data' / 'bccd'
CONFIGS = ROOT / 'configs'
#: In the order of http://host.robots.ox.ac.uk/pascal/VOC/voc2007/, which is the alphabet's.
VOC_CLASSES = (
    'aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike '
    'person pottedplant sheep sofa train tvmonitor'
).split()


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
