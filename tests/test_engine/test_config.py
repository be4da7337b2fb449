import importlib.util
import logging
import subprocess
import sys

import pytest
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.logging import MMLogger

from mmela.engine import UserError, load_config, scope_of
from mmela.engine.checks import environment


def write(path, text):
    path.write_text(text)
    return str(path)


RUNNABLE = "default_scope = 'mmdet'\nmodel = dict(type='A', depth=1)\n"


def test_work_dir_is_named_after_the_config_unless_one_is_given(tmp_path):
    path = write(tmp_path / 'my-run.py', RUNNABLE)
    with_own = write(tmp_path / 'own.py', RUNNABLE + "work_dir = 'mine'\n")
    assert load_config(path).work_dir == 'work_dirs/my-run'
    assert load_config(with_own).work_dir == 'mine'
    assert load_config(with_own, work_dir='other').work_dir == 'other'


@pytest.mark.parametrize(
    ('name', 'scope'),
    [
        ('mmdet::yolox/yolox_nano_8xb8-300e_coco.py', 'mmdet'),
        ('mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py', 'mmseg'),
    ],
)
def test_configs_of_the_toolboxes_load_by_name(name, scope):
    assert scope_of(load_config(name)) == scope


@pytest.mark.parametrize(
    ('words', 'key', 'value'),
    [
        (['model.depth=3'], 'depth', 3),
        (['model.depth=None'], 'depth', None),
        (['model.depth=[1,2]'], 'depth', [1, 2]),
        (['model.new=x'], 'new', 'x'),
        (['model.depth=3', 'model.depth=4'], 'depth', 4),
    ],
)
def test_options_follow_the_rules_of_mmengine(tmp_path, words, key, value):
    assert load_config(write(tmp_path / 'c.py', RUNNABLE), words).model[key] == value


def test_data_root_moves_every_data_set_and_evaluator(tiny_det):
    cfg = load_config(tiny_det, ['data_root=/elsewhere'])
    assert cfg.train_dataloader.dataset.data_root.rstrip('/') == '/elsewhere'
    assert cfg.test_dataloader.dataset.data_root.rstrip('/') == '/elsewhere'
    assert cfg.val_evaluator.ann_file == '/elsewhere/annotations/instances_val.json'


def test_a_more_special_option_wins_over_data_root(tiny_det):
    cfg = load_config(tiny_det, ['data_root=/a', 'test_dataloader.dataset.data_root=/b'])
    assert cfg.train_dataloader.dataset.data_root.rstrip('/') == '/a'
    assert cfg.test_dataloader.dataset.data_root == '/b'


def test_no_workers_need_no_persistent_ones():
    name = 'mmdet::yolox/yolox_nano_8xb8-300e_coco.py'
    cfg = load_config(name, ['train_dataloader.num_workers=0'])
    assert not cfg.train_dataloader.persistent_workers
    assert cfg.val_dataloader.persistent_workers


@pytest.mark.parametrize(
    ('option', 'told'),
    [
        ('model.dept=3', ["no key 'dept'", "did you mean 'depth'?"]),
        ('modle.depth=3', ["no key 'modle'", "did you mean 'model'?"]),
        ('model.neck.depth=3', ["'model' had no key 'neck'"]),
        ('model.neck=3', []),
        ('model.depth=3', []),
    ],
)
def test_an_option_that_looks_like_a_slip_is_told_about(tmp_path, caplog, option, told):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        load_config(write(tmp_path / 'c.py', RUNNABLE), [option])
    finally:
        logger.removeHandler(caplog.handler)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == bool(told)
    assert all(words in warnings[0] for words in told)


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('model = dict(\n', 'SyntaxError'),
        ('a = b\n', "NameError: name 'b' is not defined"),
        ("_base_ = './no-such-base.py'\n", 'no-such-base.py'),
        ("_base_ = 'mmdet::yolox/yolox_nano_8xb8-300e_coc.py'\n", 'yolox_nano_8xb8-300e_coco.py'),
        ("model = dict(type='A')\n", "defines no 'default_scope'"),
        ("default_scope = 'mmdet'\n", "defines no 'model'"),
    ],
)
def test_a_config_that_cannot_be_used_is_a_sentence(tmp_path, text, told):
    with pytest.raises(UserError) as error:
        load_config(write(tmp_path / 'broken.py', text))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ('scope', 'distribution', 'told'),
    [
        ('mmdet', 'mmdet', 'MMDetection, which is not installed: `pip install onedl-mmdetection`'),
        ('mmseg', 'mmsegmentation', '`pip install onedl-mmsegmentation` (or mmsegmentation, the'),
        ('mmpretrain', 'mmpretrain', "`pip install 'mmela[cls]'` (or mmpretrain, the original)."),
    ],
)
def test_the_toolbox_of_a_base_that_is_not_installed_is_named_with_what_to_install(
    tmp_path, monkeypatch, scope, distribution, told
):
    there = importlib.util.find_spec
    hidden = lambda name, *args: None if name == scope else there(name, *args)  # noqa: E731
    monkeypatch.setattr(importlib.util, 'find_spec', hidden)
    monkeypatch.setattr(environment, 'find_spec', hidden)
    # MMEngine's own table, which mmela mends where MMSegmentation is installed.
    monkeypatch.setitem(MODULE2PACKAGE, scope, distribution)
    name = f'{scope}::_base_/default_runtime.py'
    for config in (name, write(tmp_path / 'c.py', f"_base_ = '{name}'\n")):
        with pytest.raises(UserError) as error:
            load_config(config)
        assert told in str(error.value)


@pytest.mark.parametrize(
    ('config', 'hidden', 'told'),
    [
        (
            'cls/resnet/resnet18-ela-b_clothing.py',
            'mmpretrain',
            "MMPreTrain, which is not installed: `pip install 'mmela[cls]'`",
        ),
        pytest.param(
            'seg/deeplabv3/deeplabv3_r18-ela-b_clothes.py',
            'mmseg',
            'MMSegmentation, which is not installed: `pip install onedl-mmsegmentation`',
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_shipped_config_without_its_toolbox_ends_in_that_sentence(
    repo_root, tmp_path, config, hidden, told
):
    code = (
        'import runpy, sys\n'
        'from importlib import metadata\n'
        'from importlib.machinery import PathFinder\n'
        'tool, config, hidden = sys.argv[1:]\n'
        'find, version = PathFinder.find_spec, metadata.version\n'
        'def without(name, *args):\n'
        '    return None if name.split(".")[0] == hidden else find(name, *args)\n'
        'def unversioned(name):\n'
        '    if name.startswith(hidden):\n'
        '        raise metadata.PackageNotFoundError(name)\n'
        '    return version(name)\n'
        'PathFinder.find_spec, metadata.version = without, unversioned\n'
        'sys.argv = [tool, config]\n'
        'runpy.run_path(tool, run_name="__main__")\n'
    )
    tool, path = repo_root / 'tools' / 'train.py', repo_root / 'configs' / config
    done = subprocess.run(
        [sys.executable, '-c', code, str(tool), str(path), hidden],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_misspelt_config_is_offered_the_nearest(tmp_path):
    write(tmp_path / 'faster-rcnn_r50.py', RUNNABLE)
    with pytest.raises(UserError, match=r"did you mean '.*faster-rcnn_r50\.py'\?"):
        load_config(tmp_path / 'faster_rcnn-r50.py')


@pytest.mark.parametrize(
    ('name', 'told'),
    [
        ('no-such-package::a.py', "package 'no-such-package', which is not installed"),
        ('no.such.package::a.py', "package 'no.such.package', which is not installed"),
        ('::a.py', 'which is not installed'),
        ('.', 'is a folder'),
        ('checkpoint.pth', 'the config comes first'),
    ],
)
def test_what_is_no_config_is_a_sentence(tmp_path, monkeypatch, name, told):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / 'checkpoint.pth', '')
    with pytest.raises(UserError, match=told):
        load_config(name)


@pytest.mark.parametrize(
    ('option', 'told'),
    [
        ('model.depth', "'model.depth' has no '='"),
        ('model.depth.x=1', 'does not fit the config'),
    ],
)
def test_an_option_that_cannot_be_merged_is_a_sentence(tmp_path, option, told):
    path = write(tmp_path / 'c.py', RUNNABLE)
    with pytest.raises(UserError, match=told):
        load_config(path, [option])


def test_a_file_in_the_place_of_the_work_dir_is_a_sentence(tmp_path):
    path = write(tmp_path / 'c.py', RUNNABLE)
    for work_dir in (path, f'{path}/below'):
        with pytest.raises(UserError, match=r'c\.py is a file'):
            load_config(path, work_dir=work_dir)


def test_an_empty_data_root_is_replaced_and_absolute_paths_stay(tmp_path):
    text = (
        "data_root = ''\n"
        "test_dataloader = dict(dataset=dict(data_root='', ann_file='/b.json', "
        "data_prefix=dict(img='')))\n"
        "test_evaluator = [dict(ann_file='a.json'), dict(ann_file='/b.json')]\n"
    )
    cfg = load_config(write(tmp_path / 'c.py', RUNNABLE + text), ['data_root=new'])
    dataset = cfg.test_dataloader.dataset
    assert dataset == dict(data_root='new', ann_file='/b.json', data_prefix=dict(img=''))
    assert [evaluator.ann_file for evaluator in cfg.test_evaluator] == ['new/a.json', '/b.json']
