from copy import deepcopy

import pytest
import torch
from mmengine.config import Config

from mmela.engine import (
    UserError,
    draw_predictions,
    keep_predictions,
    load_config,
    use_amp,
    use_auto_scale_lr,
    use_resume,
    use_tta,
)
from mmela.engine.checks.settings import check_precision, check_required_keys

DET = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
SEG = 'mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py'


@pytest.mark.parametrize('name', [DET, SEG])
def test_amp_changes_the_optimizer_wrapper(name):
    cfg = load_config(name)
    use_amp(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    use_amp(cfg)  # a second time changes nothing
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'


def test_amp_refuses_a_special_wrapper():
    cfg = load_config(DET, ['optim_wrapper.type=ApexOptimWrapper'])
    with pytest.raises(UserError, match='ApexOptimWrapper'):
        use_amp(cfg)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_mixed_precision_without_a_gpu_is_refused_in_training_alone():
    cfg = load_config(DET)
    check_precision(cfg, ['train'])
    use_amp(cfg)
    check_precision(cfg, ['test'])
    with pytest.raises(UserError, match='optim_wrapper.type=OptimWrapper'):
        check_precision(cfg, ['train'])


def test_auto_scale_lr_is_switched_on_where_the_config_knows_its_batch_size():
    cfg = load_config(DET)
    use_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr.enable


def test_auto_scale_lr_without_a_batch_size_is_refused():
    with pytest.raises(UserError, match='auto_scale_lr.base_batch_size=N'):
        use_auto_scale_lr(load_config(SEG))
    cfg = load_config(SEG, ['auto_scale_lr.base_batch_size=16'])
    use_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr.enable


def test_resume_takes_the_checkpoint_given():
    cfg = load_config(SEG)
    use_resume(cfg, 'a.pth')
    assert cfg.resume and cfg.load_from == 'a.pth'


def test_resume_of_a_run_that_has_not_begun_begins_it_with_its_own_weights(tmp_path):
    cfg = load_config(SEG, ['load_from=pretrained.pth'], work_dir=str(tmp_path))
    use_resume(cfg, 'auto')
    assert not cfg.resume and cfg.load_from == 'pretrained.pth'


def test_out_is_a_pickle_in_detection():
    cfg = load_config(DET)
    keep_predictions(cfg, 'a.pkl')
    first, second = cfg.test_evaluator
    assert first.type == 'CocoMetric'
    assert second == dict(type='DumpDetResults', out_file_path='a.pkl')
    with pytest.raises(UserError, match='folder.pkl'):
        keep_predictions(cfg, 'folder')


def test_out_is_a_folder_in_segmentation():
    cfg = load_config(SEG)
    keep_predictions(cfg, 'folder')
    assert cfg.test_evaluator.output_dir == 'folder' and cfg.test_evaluator.keep_results
    with pytest.raises(UserError, match='expects a folder'):
        keep_predictions(cfg, 'a.pkl')


def test_tta_has_a_default_in_detection():
    cfg = load_config(DET)
    steps = [step.type for step in cfg.test_dataloader.dataset.pipeline]
    use_tta(cfg)
    assert cfg.model.type == 'DetTTAModel' and cfg.model.module.type == 'FasterRCNN'
    *before, augmentation = cfg.test_dataloader.dataset.pipeline
    assert [step.type for step in before] == steps[:-1]
    flips, (pack,) = augmentation.transforms
    assert [flip.prob for flip in flips] == [1.0, 0.0]
    assert {'flip', 'flip_direction', 'scale_factor'} <= set(pack.meta_keys)


def test_tta_is_the_configs_own_where_it_has_one():
    cfg = load_config(SEG)
    use_tta(cfg)
    assert cfg.model.type == 'SegTTAModel' and cfg.model.module.type == 'EncoderDecoder'
    assert cfg.test_dataloader.dataset.pipeline == cfg.tta_pipeline


def test_tta_that_segmentation_lacks_is_refused(tiny_seg):
    with pytest.raises(UserError, match='no tta_pipeline'):
        use_tta(load_config(tiny_seg))


def test_tta_reaches_every_data_set_that_is_concatenated():
    cfg = load_config(DET)
    leaf = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[leaf, deepcopy(leaf)])
    use_tta(cfg)
    for dataset in cfg.test_dataloader.dataset.datasets:
        assert dataset.pipeline[-1].type == 'TestTimeAug'


@pytest.mark.parametrize(
    'loader', [None, dict(dataset=dict(type='A')), dict(dataset=dict(type='C', datasets=[]))]
)
def test_tta_without_a_pipeline_to_replace_is_refused(loader):
    cfg = load_config(DET)
    cfg.test_dataloader = loader
    with pytest.raises(UserError, match='test_dataloader.dataset has none'):
        use_tta(cfg)


@pytest.mark.parametrize(
    ('key', 'split'),
    [('train_cfg', 'train'), ('optim_wrapper', 'train'), ('test_evaluator', 'test')],
)
def test_a_config_without_what_a_run_needs_is_refused(key, split):
    cfg = load_config(DET, [f'{key}=None'])
    check_required_keys(cfg, ['test' if split == 'train' else 'train'])
    with pytest.raises(UserError, match=f"no '{key}'"):
        check_required_keys(cfg, [split])


def test_images_are_drawn_where_each_toolbox_puts_them():
    det, seg = load_config(DET), load_config(SEG)
    for cfg in (det, seg):
        draw_predictions(cfg, show_dir='images')
        assert cfg.default_hooks.visualization.draw
    assert det.default_hooks.visualization.test_out_dir == 'images'
    assert seg.visualizer.save_dir == 'images'


def test_show_without_a_screen_is_refused(monkeypatch):
    monkeypatch.setattr('sys.platform', 'linux')
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    with pytest.raises(UserError, match='--show-dir'):
        draw_predictions(load_config(DET), show=True)
    monkeypatch.setenv('DISPLAY', ':0')
    cfg = load_config(DET)
    draw_predictions(cfg, show=True, wait_time=5)
    assert cfg.default_hooks.visualization.show
    assert cfg.default_hooks.visualization.wait_time == 5


def test_images_without_a_hook_are_refused():
    cfg = Config(dict(default_scope='mmdet', model=dict(type='A'), default_hooks=dict()))
    with pytest.raises(UserError, match='default_hooks.visualization'):
        draw_predictions(cfg, show_dir='images')
