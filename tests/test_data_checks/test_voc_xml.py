"""XML annotations of PASCAL VOC against the config and the images."""

import json
import re

import pytest
from mmengine.config import Config

OBJECT = (
    '<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>'
    '<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>'
)
CLASSES = ('disc', 'square', 'triangle', 'star', 'ring', 'cross')


def write_xml(path, objects, size=(64, 64)):
    size = f'<size><width>{size[0]}</width><height>{size[1]}</height></size>' if size else ''
    text = ''.join(OBJECT.format(name=name, box=box) for name, box in objects)
    path.write_text(f'<annotation>{size}{text}</annotation>')


@pytest.fixture
def voc(shapes):
    """The training scenes in VOC's layout, and a config of them."""
    coco = json.loads((shapes / 'annotations/instances_train.json').read_text())
    names = {category['id']: category['name'] for category in coco['categories']}
    (shapes / 'Annotations').mkdir()
    stems = []
    for image in coco['images']:
        boxes = [a for a in coco['annotations'] if a['image_id'] == image['id']]
        objects = [
            (names[a['category_id']], [a['bbox'][0] + 1, a['bbox'][1] + 1,
                                       a['bbox'][0] + a['bbox'][2], a['bbox'][1] + a['bbox'][3]])
            for a in boxes
        ]  # fmt: skip
        stems.append(image['file_name'].removesuffix('.jpg'))
        write_xml(shapes / 'Annotations' / f'{stems[-1]}.xml', objects)
    (shapes / 'list.txt').write_text('\n'.join(stems) + '\n')
    dataset = dict(
        type='VOCDataset', data_root=str(shapes), ann_file='list.txt',
        metainfo=dict(classes=CLASSES), data_prefix=dict(sub_data_root=''), pipeline=[],
    )  # fmt: skip
    model = dict(bbox_head=dict(type='YOLOXHead', num_classes=6))
    return Config(dict(default_scope='mmdet', model=model, train_dataloader=dict(dataset=dataset)))


@pytest.fixture
def xml(shapes, voc):
    return shapes / 'Annotations' / 'train_000000.xml'


def test_whole_data_gives_no_word(voc, find):
    assert find(voc, 'train', every=False) == ('', '')


def test_names_of_other_classes_are_refused_with_both_lists(voc, find):
    voc.train_dataloader.dataset.metainfo = dict(classes=('cat', 'dog'))
    faults, _ = find(voc, 'train')
    assert "2 ('cat', 'dog')" in faults and "'cross', 'disc'" in faults
    voc.train_dataloader.dataset.metainfo = None
    assert "is not set, so there are 20 ('aeroplane'" in find(voc, 'train')[0]


@pytest.mark.parametrize('name', ['Disc', ' disc'])
def test_another_spelling_of_a_class_is_refused(name, voc, xml, find):
    write_xml(xml, [(name, (5, 5, 20, 20))])
    faults, _ = find(voc, 'train')
    assert f"names 'disc', and 1 boxes in {xml.parent} are of {name!r}" in faults


def test_boxes_of_classes_that_are_not_named_are_counted(voc, xml, find):
    write_xml(xml, [('discs', (5, 5, 20, 20)), ('zebra', (5, 5, 20, 20))])
    faults, warnings = find(voc, 'train')
    assert (
        not faults and '2 boxes in' in warnings and "'discs' (1); did you mean 'disc'?" in warnings
    )


@pytest.mark.parametrize(
    ('box', 'told', 'is_fault'),
    [
        ((9, 9, 9, 20), '1 of 8 annotation files with a box of zero or negative size', False),
        ((20, 9, 5, 30), 'zero or negative size', False),
        ((70, 70, 80, 80), 'with a box outside of the image', False),
        ((50, 50, 90, 90), 'with a box that reaches beyond', False),
        (('nan', 5, 20, 20), 'numbers of pixels', True),
        (('', 5, 20, 20), 'numbers of pixels', True),
    ],
)
def test_odd_boxes(box, told, is_fault, voc, xml, find):
    write_xml(xml, [('disc', box)])
    found = find(voc, 'train')[0 if is_fault else 1]
    assert told in found and str(xml) in found


def test_sizes_that_are_not_the_images(voc, xml, find):
    write_xml(xml, [('disc', (5, 5, 20, 20))], size=(0, 0))
    assert 'with a <size> of 0' in find(voc, 'train')[1]
    write_xml(xml, [('disc', (5, 5, 20, 20))], size=(32, 64))
    assert 'is 64x64, not 32x64' in find(voc, 'train')[1]
    write_xml(xml, [('disc', (5, 5, 20, 20))], size=None)  # MMDetection takes the image's
    assert find(voc, 'train') == ('', '')


@pytest.mark.parametrize(
    ('content', 'told'),
    [
        (b'', 'is empty (0 bytes)'),
        (b'<annotation><object>', 'truncated'),
        ('<annotation>Müll</annotation>'.encode('latin-1'), 'Latin-1): save it as UTF-8'),
        (None, 'does not exist'),
    ],
)
def test_an_annotation_file_that_cannot_be_read_is_named(content, told, voc, xml, find):
    xml.write_bytes(content) if content is not None else xml.unlink()
    faults, _ = find(voc, 'train')
    assert str(xml) in faults and told in faults and 'train_dataloader.dataset.ann_subdir' in faults


def test_a_blank_line_and_a_blank_behind_a_name_are_refused(voc, shapes, find):
    (shapes / 'list.txt').write_text('train_000000 \n')
    assert "blanks around them, which MMDetection keeps: 'train_000000 '" in find(voc, 'train')[0]
    (shapes / 'list.txt').write_text('train_000000\n\n')
    assert 'has blank lines (2)' in find(voc, 'train')[0]


def test_images_of_another_suffix_lead_to_the_converter(voc, shapes, find):
    for image in (shapes / 'JPEGImages').glob('*.jpg'):
        image.rename(image.with_suffix('.png'))
    faults, _ = find(voc, 'train')
    assert 'tools/dataset_converters/voc_to_coco.py' in faults and "type='CocoDataset'" in faults


def test_heads_are_compared_with_the_classes(voc, find):
    box = 'Shared2FCBBoxHead'
    voc.model = dict(
        rpn_head=dict(type='RPNHead'),
        roi_head=dict(
            bbox_head=[dict(type=box, num_classes=4), dict(type=box)],
            mask_head=dict(type='FCNMaskHead', num_classes=6),
            semantic_head=dict(type='FusedSemanticHead', num_classes=183),
        ),
    )  # fmt: skip
    faults, _ = find(voc, 'train')
    assert 'has 6 classes' in faults
    first, second = (f'model.roi_head.bbox_head.{i}.num_classes' for i in (0, 1))
    assert f'{first} of Shared2FCBBoxHead is 4, {second} of Shared2FCBBoxHead is 80' in faults
    assert f'--cfg-options {first}=6 {second}=6, or' in faults


def test_the_heads_are_those_that_mmdetections_hook_looks_at(voc, find):
    from mmengine.hub import get_config
    from mmengine.registry import MODELS, DefaultScope

    cfg = get_config('mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py')
    voc.model = cfg.model
    faults, _ = find(voc, 'train')
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(dict(cfg.model, backbone=dict(cfg.model.backbone, init_cfg=None)))
    named = {n for n, m in model.named_modules() if hasattr(m, 'num_classes')}
    named = {n for n in named if not n.endswith('rpn_head')}
    # The mask head stands once in the config, and MMDetection makes three of it.
    named = {re.sub(r'(mask_head).\d', r'\1', name) for name in named}
    assert {*re.findall(r'model\.(\S+)\.num_classes=6', faults)} == named and len(named) == 4
