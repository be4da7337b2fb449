"""What a COCO file says against the config: refused, or warned of with counts."""

import json
import os

import pytest

from mmela.engine import UserError
from mmela.engine.checks.dataset import check_dataset_content, coco_json


def test_whole_data_gives_no_word(det, find):
    assert find(det) == ('', '')


def test_another_order_of_the_categories_is_refused_with_both_lists(det, edit, find):
    edit(lambda c: c['categories'].reverse())
    faults, _ = find(det)
    assert 'train_dataloader.dataset.metainfo.classes' in faults
    assert "'cross', 'ring', 'star', 'triangle', 'square', 'disc'" in faults
    assert "'disc', 'square', 'triangle', 'star', 'ring', 'cross'" in faults
    assert "label 0 is 'cross' there and 'disc' here" in faults
    assert 'val_dataloader' not in faults  # this file has the order of the config


@pytest.mark.parametrize('metainfo', [None, dict(CLASSES=('disc', 'square'))])
def test_own_classes_that_the_config_does_not_name_are_refused(metainfo, det, find):
    for split in ('train', 'val'):
        det[f'{split}_dataloader'].dataset.metainfo = metainfo
    faults, _ = find(det)
    assert "is not set, so there are 80 ('person', " in faults
    assert (
        "metainfo=dict(classes=('disc', 'square', 'triangle', 'star', 'ring', 'cross'))" in faults
    )
    assert ('metainfo.CLASSES: nothing reads this key' in faults) == bool(metainfo)


@pytest.mark.parametrize(
    ('classes', 'told'),
    [
        (('disc', 'square', 'triangle', 'star', 'ring', 'Cross'), "did you mean 'cross'?"),
        (('disc ', 'square', 'triangle', 'star', 'ring', 'cross'), "did you mean 'disc'?"),
        (('disc', 'zebra', 'triangle', 'star', 'ring', 'cross'), '1 of 6 classes are not in'),
        (('disc', 'disc', 'square', 'triangle', 'star', 'ring', 'cross'), 'disc is named twice'),
        ('disc', "classes=('disc',)"),
    ],
)
def test_names_that_the_file_does_not_have_are_refused(classes, told, det, find):
    det.train_dataloader.dataset.metainfo = dict(classes=classes)
    assert told in find(det, 'train')[0]


def test_classes_in_another_order_than_the_trainings_are_refused(det, find):
    swapped = ('square', 'disc', 'triangle', 'star', 'ring', 'cross')
    det.val_dataloader.dataset.metainfo = dict(classes=swapped)
    faults, _ = find(det)
    assert 'val_dataloader.dataset.metainfo.classes: has other classes than train_datal' in faults


def test_boxes_of_categories_that_the_config_leaves_out_are_counted(det, find):
    det.model.bbox_head.num_classes = 1
    for split in ('train', 'val'):
        det[f'{split}_dataloader'].dataset.metainfo = dict(classes=('ring',))
    faults, warnings = find(det)
    assert not faults and 'of categories that the config does not name' in warnings


def test_a_category_name_twice_is_refused(det, edit, find):
    edit(lambda c: c['categories'].append(dict(id=7, name='disc')))
    assert 'categories of the same name (disc)' in find(det)[0]


def each(key, change):
    """A change of every annotation or image."""

    def edit(content):
        for item in content[key]:
            change(item)

    return edit


def first(key, **values):
    return lambda content: content[key][0].update(values)


def as_corners(annotation):
    x, y, w, h = annotation['bbox']
    annotation['bbox'] = [x, y, x + w, y + h]


REFUSED = {
    'no boxes': (lambda c: c['annotations'].clear(), 'no annotations; there is nothing to train'),
    'crowds': (each('annotations', lambda a: a.update(iscrowd=1)), 'has only crowds'),
    'corners': (each('annotations', as_corners), 'boxes look like corners'),
    'normalised': (
        each('annotations', lambda a: a.update(bbox=[v / 64 for v in a['bbox']])),
        'boxes lie between 0 and 1',
    ),
    'all outside': (each('annotations', lambda a: a.update(bbox=[900, 9, 5, 5])), 'lie outside of'),
    'NaN': (first('annotations', bbox=[1, 2, float('nan'), 5]), '1 of '),
    'infinite': (first('annotations', bbox=[1, 2, float('inf'), 5]), 'boxes hold NaN, infinity'),
    'no bbox': (lambda c: c['annotations'][0].pop('bbox'), 'have no bbox of four numbers'),
    'no area': (lambda c: c['annotations'][0].pop('area'), 'width * height of the box'),
    'null area': (first('annotations', area=None), 'width * height of the box'),
    'null area of a crowd': (first('annotations', area=None, iscrowd=1), 'width * height of'),
    'no width': (lambda c: c['images'][0].pop('width'), 'images have no width or height'),
    'image id twice': (first('images', id=2), 'share an id'),
    'annotation id twice': (first('annotations', id=2), 'annotations share an id'),
    'image ids as text': (
        each('annotations', lambda a: a.update(image_id=str(a['image_id']))),
        'of images that the file does not have',
    ),
    'category ids from 0': (
        each('annotations', lambda a: a.update(category_id=a['category_id'] + 50)),
        'of categories that the file does not have',
    ),
    'no list': (lambda c: c.pop('images'), 'is not a COCO file'),
    'no dicts': (lambda c: c.update(annotations=[3]), 'is not a COCO file'),
    'ids that are lists': (first('images', id=[1]), 'is not a COCO file'),
}


@pytest.mark.parametrize(('change', 'told'), REFUSED.values(), ids=REFUSED)
def test_a_set_that_cannot_be_meant_is_refused(change, told, det, edit, find):
    path = edit(change)
    faults, _ = find(det)
    assert 'train_dataloader.dataset.ann_file' in faults
    assert str(path) in faults and told in faults


WARNED = {
    'zero area': (first('annotations', bbox=[5, 5, 0, 9]), 'zero or negative size'),
    'negative': (first('annotations', bbox=[5, 5, -3, 9]), 'zero or negative size'),
    'outside': (first('annotations', bbox=[70, 70, 5, 5]), 'outside of their image, which are not'),
    'beyond': (first('annotations', bbox=[60, 60, 20, 20]), 'reach beyond'),
    'unknown image': (first('annotations', image_id=99), '1 of'),
    'unknown category': (first('annotations', category_id=99), 'that the file does not have'),
    'half a pixel': (first('annotations', bbox=[5, 5, 0.5, 9]), 'narrower than one pixel'),
}


@pytest.mark.parametrize(('change', 'told'), WARNED.values(), ids=WARNED)
def test_single_boxes_that_are_left_out_are_counted(change, told, det, edit, find):
    edit(change)
    faults, warnings = find(det)
    assert not faults and len(warnings.splitlines()) == 1
    assert '1 of ' in warnings and told in warnings


def test_exchanged_width_and_height_are_refused(det, edit, find, shapes):
    import cv2

    for image in (shapes / 'JPEGImages').glob('train*'):
        cv2.imwrite(str(image), cv2.resize(cv2.imread(str(image)), (64, 48)))
    edit(each('images', lambda i: i.update(width=48, height=64)))
    faults, _ = find(det)
    assert 'width and height exchanged in the annotations' in faults
    assert 'is 64x48, not 48x64' in faults


def test_the_evaluators_file_of_another_set_is_refused(det, shapes, find):
    det.val_evaluator.ann_file = f'{shapes}/annotations/instances_train.json'
    faults, _ = find(det)
    assert 'val_evaluator.ann_file' in faults
    assert 'instances_val.json, 4 images' in faults and 'instances_train.json (8 ' in faults


def test_a_copy_of_the_same_file_may_stand_for_the_evaluator(det, shapes, tmp_path, find):
    copy = tmp_path / 'copy.json'
    content = json.loads((shapes / 'annotations/instances_val.json').read_text())
    content['images'].reverse()  # the evaluator looks images up by their ids
    copy.write_text(json.dumps(content))
    det.val_evaluator.ann_file = str(copy)
    assert find(det) == ('', '')


@pytest.mark.parametrize(
    ('content', 'told'),
    [
        (b'\xef\xbb\xbf{}', 'save it as UTF-8 without BOM'),
        ('{"images": [], "categories": [{"id": 1, "name": "Müll"}]}'.encode('latin-1'), 'Latin-1'),
        (b'{"categories": [', 'truncated'),
        (b'', 'truncated'),
        (b'[1, 2]', 'is not a COCO file'),
    ],
)
def test_a_file_that_is_no_json_in_utf8_is_refused(content, told, det, shapes, find):
    path = shapes / 'annotations/instances_train.json'
    path.write_bytes(content)
    faults, _ = find(det)
    assert str(path) in faults and told in faults


def test_a_fault_stops_before_the_start_and_a_warning_does_not(det, edit, capsys):
    edit(first('annotations', bbox=[5, 5, 0, 9]))
    check_dataset_content(det, ('train', 'val'))
    edit(lambda c: c['categories'].reverse())
    with pytest.raises(UserError, match='another order') as error:
        check_dataset_content(det, ('train', 'val'))
    assert '--no-data-check' in str(error.value)


def test_a_file_is_read_once_until_it_changes(det, shapes, monkeypatch):
    reads = []
    read = coco_json._read
    monkeypatch.setattr(coco_json, '_read', lambda path: reads.append(path) or read(path))
    for _ in range(3):
        check_dataset_content(det, ('train', 'val'))
    assert len(reads) == 2
    path = shapes / 'annotations/instances_val.json'
    os.utime(path, (1, 1))
    check_dataset_content(det, ('train', 'val'))
    assert reads[2:] == [str(path)]


def test_a_damaged_summary_is_made_anew(det, tmp_path):
    check_dataset_content(det, ('train', 'val'))
    kept = list((tmp_path / 'cache').rglob('*.json'))
    assert len(kept) == 2
    for file in kept:
        file.write_text('{')
    check_dataset_content(det, ('train', 'val'))
    assert all(json.loads(file.read_text()) for file in kept)
