"""The configs with the authors' recipes: YOLOX-Nano on VOC07+12, MobileNetV2 on ImageNet."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmela.engine import load_config

CONFIGS = Path(__file__).parents[1] / 'configs'
VOC = sorted((CONFIGS / 'det/yolox').glob('yolox_nano-*-neck_voc0712.py'))


@pytest.fixture(scope='module')
def cfg():
    return Config.fromfile(CONFIGS / 'det/yolox/yolox_nano_voc0712.py')


@pytest.mark.parametrize('path', VOC, ids=lambda path: path.stem)
def test_attention_in_the_neck_is_all_that_differs_from_the_voc_baseline(path, cfg):
    own = Config.fromfile(path).to_dict()
    neck = own['model']['neck']
    assert neck.pop('plugins') and neck.pop('type') == 'mmela.YOLOXPAFPN'
    expected = cfg.to_dict()
    assert expected['model']['neck'].pop('type') == 'YOLOXPAFPN'
    assert own == expected


def test_the_learning_rate_is_the_authors_for_batches_of_16(cfg):
    """Theirs: 1e-2 * 1.225 for batches of 64, SGD with Nesterov's momentum, down to a hundredth."""
    assert cfg.train_dataloader.batch_size == 16
    assert cfg.auto_scale_lr.base_batch_size == 16 and not cfg.auto_scale_lr.enable
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.lr == pytest.approx(0.0030625)
    assert (optimizer.type, optimizer.momentum, optimizer.nesterov) == ('SGD', 0.937, True)
    warmup, cosine = cfg.param_scheduler
    assert cosine.eta_min == pytest.approx(0.000030625)
    # Their get_lr_scheduler: 5 % of the training, at most 3 epochs, rising with the square.
    assert (warmup.type, warmup.begin, warmup.end) == ('mmdet.QuadraticWarmupLR', 0, 3)
    assert (cosine.type, cosine.begin, cosine.end) == ('CosineAnnealingLR', 3, 72)
    assert cosine.T_max == 69


@pytest.mark.parametrize('name', ['yolox_nano_voc0712', 'yolox_nano-ela-t-neck_voc0712-ela-code'])
def test_it_trains_72_epochs_at_640_pixels_and_is_evaluated_after_the_last(name):
    cfg = Config.fromfile(CONFIGS / f'det/yolox/{name}.py')
    assert cfg.train_cfg.max_epochs == 72
    assert 72 % cfg.train_cfg.val_interval == 0
    assert cfg.model.data_preprocessor.batch_augments is None  # a single scale
    resize = cfg.test_dataloader.dataset.pipeline[1]
    assert tuple(resize.get('scale') or resize.size) == (640, 640)  # the second is the letterbox's
    mosaic = next(step for step in cfg.train_pipeline if step.type == 'Mosaic')
    assert mosaic.img_scale == (640, 640)


def test_it_trains_on_both_trainvals_and_tests_on_voc07_test_by_area(cfg):
    parts = cfg.train_dataloader.dataset.dataset.datasets
    lists = [(part.data_prefix.sub_data_root, part.ann_file) for part in parts]
    assert lists == [
        ('VOC2007/', 'VOC2007/ImageSets/Main/trainval.txt'),
        ('VOC2012/', 'VOC2012/ImageSets/Main/trainval.txt'),
    ]
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.ann_file == 'VOC2007/ImageSets/Main/test.txt'
        assert loader.dataset.data_prefix.sub_data_root == 'VOC2007/'
        assert loader.dataset.test_mode
    assert {part.type for part in [*parts, cfg.test_dataloader.dataset]} == {'VOCDataset'}
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert dict(evaluator) == dict(type='VOCMetric', metric='mAP', eval_mode='area')


def test_the_learning_rate_of_mobilenet_v2_decays_exponentially_to_a_tenth():
    """Their `adjust_learning_rate` in mode 'step': lr * 0.1 ** (done / total)."""
    pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')
    cfg = load_config(CONFIGS / 'cls/mobilenet_v2/mobilenet-v2-ela-l_8xb32-200e_in1k.py')
    assert cfg.train_cfg.max_epochs == 200
    schedule, optimizer = cfg.param_scheduler, cfg.optim_wrapper.optimizer
    assert (schedule.type, optimizer.lr, optimizer.weight_decay) == ('ExponentialLR', 0.1, 1e-4)
    assert optimizer.lr * schedule.gamma**100 == pytest.approx(0.1 * 0.1**0.5)
    assert optimizer.lr * schedule.gamma**200 == pytest.approx(0.01)
