"""Variables of a config file that come too late, and what a person is told about it."""

from __future__ import annotations

import logging

import pytest
from mmengine.logging import MMLogger

from mmela.engine import load_config

BASE = (
    "default_scope = 'mmdet'\n"
    "data_root = 'data/theirs/'\n"
    'max_epochs = 20\n'
    'size = 63\n'
    "model = dict(type='A', neck=dict(num_outs=5), momentum=0.03)\n"
    'train_cfg = dict(max_epochs=max_epochs)\n'
    'param_scheduler = [dict(T_max=max_epochs)]\n'
    'train_pipeline = [dict(scale=size)]\n'
    'train_dataloader = dict(dataset=dict(datasets=[\n'
    '    dict(data_root=data_root, pipeline=train_pipeline)]))\n'
    'val_dataloader = dict(dataset=dict(data_root=data_root))\n'
    "val_evaluator = dict(ann_file=data_root + 'val.json')\n"
    'find_unused_parameters = False\n'
    "log_level = 'INFO'\n"
    "load_from = 'a.pth'\n"
)


@pytest.fixture
def base(tmp_path):
    path = tmp_path / 'base.py'
    path.write_text(BASE)
    return path


@pytest.fixture
def child(base):
    path = base.with_name('child.py')

    def write(text):
        path.write_text(f"_base_ = './base.py'\n{text}")
        return path

    return write


@pytest.fixture
def warnings(caplog):
    """Reads a config; returns it and the warnings on the way."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)

    def read(path, *options):
        caplog.clear()
        cfg = load_config(path, list(options))
        return cfg, [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]

    yield read
    logger.removeHandler(caplog.handler)


def test_a_data_root_on_top_of_a_base_is_said_to_move_nothing(child, warnings):
    path = child("data_root = 'data/mine/'\n")
    cfg, (told,) = warnings(path)
    assert cfg.val_dataloader.dataset.data_root == 'data/theirs/'  # MMEngine's way
    assert f'data_root of {path} is data/mine/, but its data sets lie in data/theirs:' in told
    assert '--cfg-options data_root=data/mine/ moves them' in told


def test_the_option_that_the_warning_names_moves_every_data_set(child, warnings):
    cfg, told = warnings(child("data_root = 'data/mine/'\n"), 'data_root=data/mine/')
    assert not told
    assert cfg.train_dataloader.dataset.datasets[0].data_root == 'data/mine/'
    assert cfg.val_dataloader.dataset.data_root == 'data/mine/'
    assert cfg.val_evaluator.ann_file == 'data/mine/val.json'


def test_data_sets_in_several_places_have_no_option_that_moves_them(child, warnings):
    text = "data_root = 'data/mine'\nval_dataloader = dict(dataset=dict(data_root='data/val'))\n"
    _, (told,) = warnings(child(text))
    assert 'lie in data/theirs, data/val:' in told and told.endswith('data_root of each data set.')
    cfg, _ = warnings(child(text), 'data_root=data/mine')
    assert cfg.val_dataloader.dataset.data_root == 'data/val'


@pytest.mark.parametrize(
    'text',
    [
        '',
        "data_root = 'data/mine'\n"
        "train_dataloader = dict(dataset=dict(datasets=[dict(data_root=data_root + '/train')]))\n",
        "data_root = 'data/theirs'\n",
        "data_root = ''\n",
        # Data sets with roots of their own below a base whose variable nobody uses any more.
        "train_dataloader = dict(dataset=dict(datasets=[dict(data_root='a')]))\n"
        "val_dataloader = dict(dataset=dict(data_root='b'))\nval_evaluator = dict(ann_file='c')\n",
        # Data sets that name no folder at all.
        "data_root = 'data/mine'\n"
        "train_dataloader = dict(dataset=dict(_delete_=True, type='D'))\n"
        "val_dataloader = dict(dataset=dict(_delete_=True, type='D'))\n",
    ],
)
def test_a_data_root_in_use_or_inherited_is_passed_over(child, warnings, text):
    assert warnings(child(text))[1] == []


def test_an_overridden_variable_is_answered_with_the_keys_that_hold_its_value(base, warnings):
    cfg, (told,) = warnings(base, 'max_epochs=1')
    assert cfg.train_cfg.max_epochs == 20
    assert "'max_epochs' is a variable that was used when the config was read" in told
    assert told.endswith('keys that hold 20 are train_cfg.max_epochs, param_scheduler.0.T_max.')
    _, (told,) = warnings(base, 'size=32')
    assert told.endswith('hold 63 are train_dataloader.dataset.datasets.0.pipeline.0.scale.')


@pytest.mark.parametrize(
    'option',
    [
        *('load_from=b.pth', 'find_unused_parameters=True', 'log_level=DEBUG', 'resume=True'),
        *('default_scope=mmseg', 'data_root=x', 'train_cfg.max_epochs=1', 'model.momentum=0.1'),
    ],
)
def test_what_the_runner_reads_is_overridden_without_a_word(base, warnings, option):
    assert warnings(base, option)[1] == []


@pytest.mark.parametrize(
    ('config', 'option', 'key'),
    [
        ('cls/resnet/resnet18-ela-b_clothing.py', 'max_epochs=1', 'train_cfg.max_epochs'),
        ('cls/resnet/resnet18-ela-b_clothing.py', 'image_size=32', 'test_dataloader.dataset.'),
        ('det/yolox/yolox_nano-ela-t_bccd.py', 'max_epochs=1', 'train_cfg.max_epochs'),
        ('seg/deeplabv3/deeplabv3_r18-ela-b_clothes.py', 'max_iters=9', 'train_cfg.max_iters'),
    ],
)
def test_in_a_shipped_pattern_the_warning_names_the_key_to_set(
    repo_root, warnings, config, option, key
):
    if config.startswith('cls'):
        pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')
    _, (told,) = warnings(repo_root / 'configs' / config, option)
    assert key in told
