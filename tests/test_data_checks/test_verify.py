"""tools/misc/verify_dataset.py: every file of a config's data sets, as text, JSON and status."""

import json
from pathlib import Path

import pytest

from mmela.commands.verify import verify
from mmela.engine import load_config

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / 'shared' / 'data'
TOOL = 'misc/verify_dataset.py'


def test_whole_data_is_status_0(tool, tiny_seg, shapes):
    status, _ = tool(TOOL, tiny_seg, '--workers', 0, '--cfg-options', f'data_root={shapes}/')
    assert status == 0
    assert 'looked at 8 of 8 images and 8 masks (train_dataloader.dataset)' in tool.stdout
    # Four scenes happen to lack a shape.
    assert 'no mask of 4 has a pixel of triangle' in tool.stdout
    assert 'faults: 0, warnings: 1' in tool.stdout


def test_a_fault_behind_the_header_is_status_2_and_stands_in_the_json(tool, tiny_det, shapes):
    file = shapes / 'JPEGImages/val_000002.jpg'
    file.write_bytes(file.read_bytes()[:-20])
    report = shapes / 'report.json'
    options = ['--json', report, '--workers', 2, '--cfg-options', f'data_root={shapes}/']
    status, err = tool(TOOL, tiny_det, *options)
    assert status == 2 and 'Traceback' not in err
    assert f'FAULT: val_dataloader.dataset: 1 of 4 images cannot be read: {file} (s' in tool.stdout
    content = json.loads(report.read_text())
    assert content['faults'] == 1 and content['findings'][0]['path'] == str(file)
    # Validation and test read the same files: they are looked at once.
    assert len(content['seen']) == 2 and content['findings'][0]['is_fault']
    status, _ = tool(TOOL, tiny_det, '--splits', 'train', '--cfg-options', f'data_root={shapes}/')
    assert status == 0


def test_missing_data_is_a_sentence(tool, tiny_det, tmp_path):
    status, err = tool(TOOL, tiny_det, '--cfg-options', f'data_root={tmp_path}/no/')
    assert status == 2 and err.startswith('error: ') and 'train_dataloader.dataset.data_root' in err


def shared(name):
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f'{name} is not beside this checkout')
    return folder.resolve()


def real_verdict(config, root, options=()):
    if '/cls/' in str(config):
        pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')
    return verify(load_config(config, [f'data_root={root}/', *options]))


REAL = {
    'bccd': ('configs/det/yolox/yolox_nano-ela-t_bccd.py', ''),
    'clothes_seg': ('configs/seg/deeplabv3/deeplabv3_r18-ela-b_clothes.py', 'VOCdevkit/VOC2012'),
    'clothing_cls': ('configs/cls/resnet/resnet18-ela-b_clothing.py', ''),
    'coco': ('configs/det/yolox/yolox_nano-ela-t_8xb8-300e_coco.py', ''),
}


@pytest.mark.long
@pytest.mark.parametrize('name', REAL)
def test_real_data_that_is_whole_gives_no_alarm(name):
    config, folder = REAL[name]
    verdict = real_verdict(ROOT / config, shared(name) / folder)
    assert verdict.seen and verdict.findings == []


NUCLEI = {
    'det': """
_base_ = '{root}/configs/det/yolox/yolox_nano-ela-t_bccd.py'
data = dict(
    data_root='{data}', metainfo=dict(classes=('nucleus',)), data_prefix=dict(img='images/'))
model = dict(bbox_head=dict(num_classes=1))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='{data}/annotations/instances_val.json')
test_evaluator = val_evaluator
""",
    'seg': """
_base_ = '{root}/configs/seg/deeplabv3/deeplabv3_r18-ela-b_clothes.py'
data = dict(
    data_root='{data}', metainfo=dict(_delete_=True, classes=('background', 'nucleus')),
    data_prefix=dict(img_path='images', seg_map_path='masks'))
model = dict(decode_head=dict(num_classes=2), auxiliary_head=dict(num_classes=2))
train_dataloader = dict(dataset=dict(ann_file='train.txt', **data))
val_dataloader = dict(dataset=dict(ann_file='val.txt', **data))
test_dataloader = val_dataloader
""",
}


@pytest.mark.long
@pytest.mark.parametrize('task', NUCLEI)
def test_nuclei_give_no_alarm_as_boxes_and_as_masks(task, tmp_path):
    data = shared('nuclei')
    config = tmp_path / 'nuclei.py'
    config.write_text(NUCLEI[task].format(root=ROOT, data=data))
    verdict = verify(load_config(config), workers=2)
    assert verdict.seen[0].startswith('498 of 498 images') and verdict.findings == []


@pytest.mark.long
def test_the_two_boxes_without_area_in_the_xml_of_bccd_are_found(tmp_path):
    data = shared('bccd')
    config = tmp_path / 'voc.py'
    sets = ''.join(
        f"{split}_dataloader = dict(dataset=dict(ann_file='VOC2007/ImageSets/Main/{split}.txt', "
        '**data))\n'
        for split in ('train', 'val', 'test')
    )
    config.write_text(
        f"_base_ = '{ROOT}/configs/det/yolox/yolox_nano-ela-t_bccd.py'\n"
        f"data = dict(_delete_=True, type='VOCDataset', data_root='{data}/VOCdevkit',\n"
        "    pipeline=[], metainfo=dict(classes=('RBC', 'WBC', 'Platelets')),\n"
        f"    data_prefix=dict(sub_data_root='VOC2007/'))\n{sets}"
        "val_evaluator = dict(_delete_=True, type='VOCMetric')\n"
        "test_evaluator = dict(_delete_=True, type='VOCMetric')\n"
    )
    verdict = verify(load_config(config))
    assert not verdict.faults and len(verdict.findings) == 2
    found = {Path(finding.path).stem for finding in verdict.findings}
    assert found == {'BloodImage_00338', 'BloodImage_00343'}
    assert all('zero or negative size' in finding.message for finding in verdict.findings)


@pytest.mark.long
def test_the_truncated_photograph_of_voc_is_found():
    root = shared('voc12') / 'VOCdevkit/VOC2012'
    name = 'deeplabv3_r50-d8-ela-s-c3-c5_4xb4-20k_voc12aug-512x512.py'
    verdict = real_verdict(ROOT / 'configs/seg/deeplabv3' / name, root)
    assert {Path(finding.path).name for finding in verdict.faults} == {'2010_006034.jpg'}
    # Five and three photographs do not show every class; nothing else is warned of.
    rest = [f for f in verdict.findings if not f.is_fault]
    assert all('has a pixel of' in f.message for f in rest)
