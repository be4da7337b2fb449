"""``--cfg-options``: what they set, and warnings about those without the expected effect."""

from __future__ import annotations

import pytest

from mmela.engine import UserError, load_config

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
def warnings(warned):
    """Reads a config; returns it and the warnings."""

    def read(path, *options):
        return load_config(path, list(options)), warned()

    return read


def test_a_data_root_on_top_of_a_base_triggers_a_warning(child, warnings):
    path = child("data_root = 'data/mine/'\n")
    cfg, (fix,) = warnings(path)
    assert cfg.val_dataloader.dataset.data_root == 'data/theirs/'  # MMEngine's way
    assert str(path) in fix and '--cfg-options data_root=data/mine/ moves them' in fix


def test_the_option_that_the_warning_names_moves_every_data_set(child, warnings):
    cfg, fix = warnings(child("data_root = 'data/mine/'\n"), 'data_root=data/mine/')
    assert not fix
    assert cfg.train_dataloader.dataset.datasets[0].data_root == 'data/mine/'
    assert cfg.val_dataloader.dataset.data_root == 'data/mine/'
    assert cfg.val_evaluator.ann_file == 'data/mine/val.json'


def test_data_sets_in_several_places_have_no_option_that_moves_them(child, warnings):
    text = "data_root = 'data/mine'\nval_dataloader = dict(dataset=dict(data_root='data/val'))\n"
    _, (fix,) = warnings(child(text))
    assert 'data/theirs, data/val' in fix and 'data_root of each data set' in fix
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
def test_a_data_root_in_use_or_inherited_triggers_no_warning(child, warnings, text):
    assert warnings(child(text))[1] == []


def test_an_overridden_variable_is_answered_with_the_keys_that_hold_its_value(base, warnings):
    cfg, (fix,) = warnings(base, 'max_epochs=1')
    assert cfg.train_cfg.max_epochs == 20
    assert 'train_cfg.max_epochs, param_scheduler.0.T_max.' in fix
    _, (fix,) = warnings(base, 'size=32')
    assert 'train_dataloader.dataset.datasets.0.pipeline.0.scale.' in fix


@pytest.mark.parametrize(
    'option',
    [
        *('load_from=b.pth', 'find_unused_parameters=True', 'log_level=DEBUG', 'resume=True'),
        *('default_scope=mmseg', 'data_root=x', 'train_cfg.max_epochs=1', 'model.momentum=0.1'),
        *('randomness.seed=0', 'model_wrapper_cfg.type=DataParallel', 'compile.mode=default'),
    ],
)
def test_what_the_runner_reads_is_overridden_without_a_warning(base, warnings, option):
    assert warnings(base, option)[1] == []


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ('model.momentun=3', ["no key 'momentun'", "did you mean 'momentum'?"]),
        ('modle.depth=3', ["no key 'modle'", "did you mean 'model'?"]),
        ('model.head.depth=3', ["'model' had no key 'head'"]),
        ('model.head=3', None),
    ],
)
def test_an_option_that_looks_like_a_typo_triggers_a_warning(base, warnings, option, words):
    fix = warnings(base, option)[1]
    assert len(fix) == (words is not None)
    assert all(word in fix[0] for word in words or ())


@pytest.mark.parametrize(
    ('option', 'fix'),
    [
        ('model.neck', "'model.neck', which has no '='"),
        ('model.type.x=1', 'does not fit the config'),
    ],
)
def test_an_option_that_cannot_be_merged_is_refused(base, option, fix):
    with pytest.raises(UserError, match=fix):
        load_config(base, [option])


def test_options_follow_the_rules_of_mmengine(base):
    options = ['model.neck=None', 'model.a=[1,2]', 'model.b=x', 'model.c=3', 'model.c=4']
    model = load_config(base, options).model
    assert (model.neck, model.a, model.b, model.c) == (None, [1, 2], 'x', 4)


def test_an_empty_data_root_is_replaced_and_absolute_paths_stay(child):
    path = child(
        "data_root = ''\n"
        "test_dataloader = dict(dataset=dict(data_root='', ann_file='/b.json', "
        "data_prefix=dict(img='')))\n"
        "test_evaluator = [dict(ann_file='a.json'), dict(ann_file='/b.json')]\n"
    )
    cfg = load_config(path, ['data_root=new'])
    dataset = cfg.test_dataloader.dataset
    assert dataset == dict(data_root='new', ann_file='/b.json', data_prefix=dict(img=''))
    assert [evaluator.ann_file for evaluator in cfg.test_evaluator] == ['new/a.json', '/b.json']


def test_a_more_special_option_wins_over_data_root(tiny_det):
    cfg = load_config(tiny_det, ['data_root=/a', 'test_dataloader.dataset.data_root=/b'])
    assert cfg.train_dataloader.dataset.data_root.rstrip('/') == '/a'
    assert cfg.test_dataloader.dataset.data_root == '/b'
    assert cfg.val_evaluator.ann_file == '/a/annotations/instances_val.json'
