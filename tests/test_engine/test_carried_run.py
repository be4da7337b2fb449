"""The authors' way in small: a classifier is trained, and a segmenter starts from its backbone."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')

CONFIGS = Path(__file__).parent / 'configs'
PLUGINS = "[dict(cfg=dict(type='mmela.ELA', variant='S'), position='after_depthwise')]"
CLASSIFIER = f"""
_base_ = '{CONFIGS / 'tiny_cls.py'}'
model = dict(
    backbone=dict(
        _delete_=True, type='mmela.ClsMobileNetV2', widen_factor=0.25, plugins={PLUGINS}),
    head=dict(in_channels=1280))
"""
SEGMENTER = f"""
_base_ = '{CONFIGS / 'tiny_seg.py'}'
model = dict(
    backbone=dict(
        _delete_=True, type='mmela.SegMobileNetV2', widen_factor=0.25,
        init_cfg=dict(
            type='Pretrained', prefix='backbone.',
            checkpoint='work_dirs/classifier/epoch_1.pth'),
        plugins={PLUGINS}),
    decode_head=dict(in_channels=80))
"""


@pytest.fixture
def images(tmp_path):
    """ImageNet folders: two images of each of three classes, for training and validation."""
    random = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name in ('blue', 'green', 'red'):
            folder = tmp_path / 'images' / split / name
            folder.mkdir(parents=True)
            for i in range(2):
                image = random.integers(0, 255, (40, 48, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / f'{i}.png'), image)
    return tmp_path / 'images'


def test_a_segmenter_starts_from_the_classifier_that_the_tools_trained(
    tool, images, shapes_root, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path('classifier.py').write_text(CLASSIFIER)
    Path('segmenter.py').write_text(SEGMENTER)
    data = ('--cfg-options', f'data_root={images}')
    assert tool('train.py', 'classifier.py', *data)[0] == 0
    # At a learning rate of zero the segmenter's parameters stay what they were loaded as.
    data = ('--cfg-options', f'data_root={shapes_root}', 'optim_wrapper.optimizer.lr=0')
    assert tool('train.py', 'segmenter.py', *data)[0] == 0
    (log,) = (path.read_text() for path in Path('work_dirs/segmenter').glob('*/*.log'))

    source, carried = (
        torch.load(f'work_dirs/{name}/epoch_1.pth', weights_only=False)['state_dict']
        for name in ('classifier', 'segmenter')
    )
    backbone = {k for k in carried if k.startswith('backbone.')}
    words = re.findall(r'epoch_1\.pth -> backbone: (\d+) tensors loaded, every one', log)
    assert words == [str(len(backbone))]
    assert 'UNTRAINED' not in log and ' unexpected, ' not in log
    parameters = [key for key in backbone if 'running' not in key and 'num_batches' not in key]
    assert sum('.ela.' in key for key in parameters) == 3 * 16
    assert all(torch.equal(carried[key], source[key]) for key in parameters)
    left = {key for key in source if key.startswith('backbone.')} - backbone
    assert {key.split('.')[1] for key in left} == {'conv2'}  # which feeds a classifier's head
