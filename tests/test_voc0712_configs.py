"""`yolox_nano*_voc0712.py`: the schedule of YOLOX/train.py by ELA's authors, VOC's own lists."""

from pathlib import Path

import pytest
from mmengine.config import Config

FOLDER = Path(__file__).parents[1] / 'configs/det/yolox'
CONFIGS = sorted(path.name for path in FOLDER.glob('yolox_nano*_voc0712*.py'))


@pytest.fixture(params=CONFIGS, scope='module')
def cfg(request):
    return Config.fromfile(FOLDER / request.param)


def test_there_is_one_config_without_attention_and_one_for_each_attention():
    assert 'yolox_nano_voc0712.py' in CONFIGS and len(CONFIGS) >= 9


def test_the_learning_rate_is_that_of_batches_of_16(cfg):
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


def test_it_trains_72_epochs_on_640_pixels_and_is_evaluated_after_the_last(cfg):
    assert cfg.train_cfg.max_epochs == 72
    assert 72 % cfg.train_cfg.val_interval == 0
    assert cfg.model.data_preprocessor.batch_augments is None  # one size
    resize = cfg.test_dataloader.dataset.pipeline[1]
    assert tuple(resize.get('scale') or resize.size) == (640, 640)  # the second is the letterbox's
    mosaic = next(step for step in cfg.train_pipeline if step.type == 'Mosaic')
    assert mosaic.img_scale == (640, 640)


def test_it_trains_on_both_trainvals_and_is_tested_on_voc07_test(cfg):
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


def test_ap_is_the_area_under_the_curve_as_theirs(cfg):
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert dict(evaluator) == dict(type='VOCMetric', metric='mAP', eval_mode='area')
