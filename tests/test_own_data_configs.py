"""The templates for custom data, on the data sets that they name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch.utils.data import default_collate

from mmela.engine import load_config

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / 'shared' / 'data'
PATTERNS = {
    'configs/det/yolox/yolox_nano-ela-t_bccd.py': (SHARED / 'bccd', 'data/bccd', 205, 87),
    'configs/seg/deeplabv3/deeplabv3_r18-ela-b_clothes.py': (
        SHARED / 'clothes_seg',
        'data/clothes_seg',
        700,
        304,
    ),
    'configs/cls/resnet/resnet18-ela-b_clothing.py': (
        SHARED / 'clothing_cls',
        'data/clothing_cls',
        3068,
        341,
    ),
    'configs/cls/mobilenet_v2/mobilenet-v2-ela-b_clothing.py': (
        SHARED / 'clothing_cls',
        'data/clothing_cls',
        3068,
        341,
    ),
}


@pytest.mark.parametrize('name', PATTERNS)
def test_a_template_reads_its_data_set_and_takes_a_training_step(name, tmp_path, monkeypatch):
    source, place, num_train, num_val = PATTERNS[name]
    if not source.is_dir():
        pytest.skip(f'{source.name} is not beside this checkout')
    if '/cls/' in name:
        pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')
    (tmp_path / place).parent.mkdir()
    (tmp_path / place).symlink_to(source.resolve())
    monkeypatch.chdir(tmp_path)
    cfg = load_config(ROOT / name)
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == num_train
    assert len(DATASETS.build(cfg.val_dataloader.dataset)) == num_val

    torch.manual_seed(0)
    if 'data_preprocessor' in cfg:  # the runner adds it when it builds the model
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = MODELS.build(cfg.model).train()
    model.init_weights()
    items = [dataset[i] for i in range(4)]
    batch = {key: [item[key] for item in items] for key in ('inputs', 'data_samples')}
    batch = model.data_preprocessor(batch, training=True)
    loss, _ = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    assert torch.isfinite(loss)
    attention = {n: p for n, p in model.named_parameters() if '.ela.' in n}
    assert attention and all(torch.isfinite(p.grad).all() for p in attention.values())
    # `zero_init_residual` closes the blocks of a ResNet for the first step.
    closed = 'ResNet' in cfg.model.backbone.type
    assert closed or all(p.grad.abs().sum() > 0 for p in attention.values())


@pytest.mark.parametrize(('image_size', 'edge'), [(64, 72), (224, 252)])
def test_the_size_of_the_images_is_changed_in_one_place(image_size, edge, tmp_path):
    pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')
    text = (ROOT / 'configs/_base_/clothing.py').read_text()
    assert text.count('image_size = 64') == 1
    path = tmp_path / 'own.py'
    path.write_text(text.replace('image_size = 64', f'image_size = {image_size}'))
    cfg = Config.fromfile(path)
    init_default_scope('mmpretrain')
    for size in ((300, 200), (200, 300), (50, 170)):  # portrait, landscape, smaller than asked for
        name = '{}x{}.png'.format(*size)
        (tmp_path / 'val' / 'shirt').mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / 'val' / 'shirt' / name), np.zeros((*size, 3), np.uint8))
    items = list(DATASETS.build({**cfg.val_dataloader.dataset, 'data_root': str(tmp_path)}))
    assert len(items) == 3
    assert default_collate([i['inputs'] for i in items]).shape == (3, 3, image_size, image_size)
    assert cfg.test_pipeline[1].scale == edge
