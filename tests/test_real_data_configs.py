"""The COCO and VOC configs, trained and tested on a few real photographs.

Only the schedule is shortened and nothing is downloaded. The networks have learned next to nothing,
so boxes of any score count.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import torch
from mmdet.evaluation import voc_classes
from pycocotools.coco import COCO

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / 'shared' / 'data'
YOLOX = 'configs/det/yolox/yolox_nano-ela-t_8xb8-300e_coco.py'
YOLOX_VOC = 'configs/det/yolox/yolox_nano_voc0712.py'
FASTER_RCNN = 'configs/det/faster_rcnn/faster-rcnn_r50-ela-b-c3-c5_fpn_1x_coco.py'
DEEPLAB = 'configs/seg/deeplabv3/deeplabv3_r50-d8-ela-s-c3-c5_4xb4-20k_voc12aug-512x512.py'
#: The classes with another name in COCO; the other fourteen of VOC have the same name in both.
VOC_NAMES = {
    'airplane': 'aeroplane',
    'couch': 'sofa',
    'dining table': 'diningtable',
    'motorcycle': 'motorbike',
    'potted plant': 'pottedplant',
    'tv': 'tvmonitor',
}

pytestmark = pytest.mark.long


def shared(name):
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f'{name} is not beside this checkout')
    return folder.resolve()


def run(tool, folder, *words):
    """Runs a tool in a folder and returns its output."""
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / tool), *map(str, words)],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def train_and_test(folder, config, checkpoint, options, train_options=()):
    """Trains, tests the checkpoint, and returns the losses and both sets of metrics."""
    config = ROOT / config
    words = ('--work-dir', 'run', '--cfg-options', *options)
    run('train.py', folder, config, *words, *train_options)
    records = next(folder.glob('run/*/vis_data/scalars.json')).read_text().splitlines()
    records = [json.loads(line) for line in records]
    losses = [record['loss'] for record in records if 'loss' in record]
    validated = {k: v for record in records if 'loss' not in record for k, v in record.items()}
    run('test.py', folder, config, f'run/{checkpoint}', *words)
    return losses, validated, json.loads((folder / 'run/metrics.json').read_text())


def assert_trained(losses, validated, tested, metrics):
    assert losses and all(math.isfinite(loss) for loss in losses)
    for name in metrics:
        # The checkpoint holds the weights of the last validation, averaged weights included.
        assert tested[name] == pytest.approx(validated[name], abs=1e-4), name


def attention_is_in(path):
    return any('.ela' in key for key in torch.load(path, weights_only=False)['state_dict'])


def test_yolox_nano_with_ela_on_coco(tmp_path):
    options = (f'data_root={shared("coco")}', 'model.test_cfg.score_thr=0')
    outcome = train_and_test(
        tmp_path,
        YOLOX,
        'epoch_1.pth',
        options,
        # Otherwise mosaic would be off from the start, as in the last epochs.
        ('train_cfg.max_epochs=1', 'custom_hooks.0.num_last_epochs=0'),
    )
    assert_trained(*outcome, ['coco/bbox_mAP', 'coco/bbox_mAP_50'])
    assert attention_is_in(tmp_path / 'run/epoch_1.pth')


def test_faster_rcnn_r50_with_ela_on_coco(tmp_path):
    options = (
        f'data_root={shared("coco")}',
        'model.backbone.init_cfg=None',
        'model.test_cfg.rcnn.score_thr=0',
        'val_dataloader.dataset.indices=2',  # 10 s a photograph at 800 x 1333
        'test_dataloader.dataset.indices=2',
    )
    outcome = train_and_test(
        tmp_path,
        FASTER_RCNN,
        'epoch_1.pth',
        options,
        ('train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=4'),
    )
    assert_trained(*outcome, ['coco/bbox_mAP', 'coco/bbox_mAP_50'])
    assert attention_is_in(tmp_path / 'run/epoch_1.pth')


def test_deeplabv3_r50_with_ela_on_voc12aug(tmp_path):
    root = shared('voc12') / 'VOCdevkit' / 'VOC2012'
    lists = root / 'ImageSets' / 'Segmentation'
    words = ['model.pretrained=None']
    for index, name in enumerate(('train', 'aug')):
        # 2010_006034.jpg is truncated, and the toolboxes cannot decode it.
        names = [n for n in (lists / f'{name}.txt').read_text().split() if n != '2010_006034']
        (tmp_path / f'{name}.txt').write_text('\n'.join(names))
        words.append(f'train_dataloader.dataset.datasets.{index}.ann_file={tmp_path}/{name}.txt')
    outcome = train_and_test(
        tmp_path,
        DEEPLAB,
        'iter_2.pth',
        (f'data_root={root}', *words),
        ('train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'default_hooks.logger.interval=1'),
    )
    assert len(outcome[0]) == 2
    assert_trained(*outcome, ['mIoU', 'aAcc', 'mAcc'])
    assert attention_is_in(tmp_path / 'run/iter_2.pth')


def write_voc(devkit, coco, year, images, **splits):
    """Writes COCO photographs with the boxes of VOC's classes in VOC's layout."""
    classes = voc_classes()
    folder = devkit / f'VOC{year}'
    for name in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (folder / name).mkdir(parents=True)
    for photograph, image in images:
        stem = photograph.stem
        (folder / 'JPEGImages' / photograph.name).symlink_to(photograph)
        root = ET.Element('annotation')
        size = ET.SubElement(root, 'size')
        for tag in ('width', 'height'):
            ET.SubElement(size, tag).text = str(image[tag])
        for box in coco.imgToAnns[image['id']]:
            name = coco.cats[box['category_id']]['name']
            name = VOC_NAMES.get(name, name)
            if name not in classes:
                continue
            item = ET.SubElement(root, 'object')
            ET.SubElement(item, 'name').text = name
            ET.SubElement(item, 'difficult').text = str(box['iscrowd'])
            x, y, w, h = box['bbox']
            corners = ET.SubElement(item, 'bndbox')
            for tag, value in dict(xmin=x + 1, ymin=y + 1, xmax=x + w, ymax=y + h).items():
                ET.SubElement(corners, tag).text = str(value)
        ET.ElementTree(root).write(folder / 'Annotations' / f'{stem}.xml')
    for split, chosen in splits.items():
        names = ''.join(f'{photograph.stem}\n' for photograph, _ in images[chosen])
        (folder / 'ImageSets' / 'Main' / f'{split}.txt').write_text(names)


@pytest.fixture
def devkit(tmp_path):
    """VOC07+12 of COCO photographs: 10 and 9 for training, 6 for the test."""
    root = shared('coco')
    devkit = tmp_path / 'VOCdevkit'
    for split, year in (('train', 2012), ('val', 2007)):
        coco = COCO(str(root / 'annotations' / f'instances_{split}2017.json'))
        images = [
            (root / f'{split}2017' / image['file_name'], image) for image in coco.dataset['images']
        ]
        if year == 2007:
            write_voc(devkit, coco, year, images[:16], trainval=slice(10), test=slice(10, 16))
        else:
            write_voc(devkit, coco, year, images[:9], trainval=slice(9))
    return devkit


def test_yolox_nano_on_voc0712(tmp_path, devkit):
    outcome = train_and_test(
        tmp_path,
        YOLOX_VOC,
        'epoch_1.pth',
        (f'data_root={devkit}', 'model.test_cfg.score_thr=0'),
        ('train_cfg.max_epochs=1', 'custom_hooks.0.num_last_epochs=0'),
    )
    assert_trained(*outcome, ['pascal_voc/mAP', 'pascal_voc/AP50'])
