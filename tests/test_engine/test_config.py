import importlib.util
import subprocess
import sys

import pytest
from mmengine.config.utils import MODULE2PACKAGE

from mmela.distributions import install_command
from mmela.engine import UserError, load_config, scope_of


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


def test_no_workers_need_no_persistent_ones():
    name = 'mmdet::yolox/yolox_nano_8xb8-300e_coco.py'
    cfg = load_config(name, ['train_dataloader.num_workers=0'])
    assert not cfg.train_dataloader.persistent_workers
    assert cfg.val_dataloader.persistent_workers


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('model = dict(\n', 'SyntaxError'),
        ('a = b\n', "NameError: name 'b' is not defined"),
        ("_base_ = './no-such-base.py'\n", 'no-such-base.py'),
        ("_base_ = 'mmdet::yolox/yolox_nano_8xb8-300e_coc.py'\n", 'yolox_nano_8xb8-300e_coco.py'),
        ("model = dict(type='A')\n", "defines no 'default_scope'"),
        ("default_scope = 'mmdet'\n", "defines no 'model'"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(tmp_path, text, words):
    with pytest.raises(UserError) as error:
        load_config(write(tmp_path / 'broken.py', text))
    assert words in str(error.value)


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmpretrain'])
def test_the_toolbox_of_a_base_that_is_not_installed_is_named_with_what_to_install(
    tmp_path, monkeypatch, scope
):
    there = importlib.util.find_spec
    hidden = lambda name, *args: None if name == scope else there(name, *args)  # noqa: E731
    monkeypatch.setattr(importlib.util, 'find_spec', hidden)
    # MMEngine's own table of distributions; this one is installed nowhere.
    monkeypatch.setitem(MODULE2PACKAGE, scope, f'no-{scope}')
    name = f'{scope}::_base_/default_runtime.py'
    for config in (name, write(tmp_path / 'c.py', f"_base_ = '{name}'\n")):
        with pytest.raises(UserError) as error:
            load_config(config)
        assert install_command(scope) in str(error.value)


@pytest.mark.long  # a process without the package
@pytest.mark.core
def test_a_shipped_config_without_its_toolbox_is_one_line(repo_root, tmp_path):
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
        'sys.argv, sys.path[0] = [tool, config], tool.rpartition("/")[0]\n'
        'runpy.run_path(tool, run_name="__main__")\n'
    )
    config = repo_root / 'configs' / 'cls' / 'resnet' / 'resnet18-ela-b_clothing.py'
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            code,
            str(repo_root / 'tools' / 'train.py'),
            str(config),
            'mmpretrain',
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and install_command('mmpretrain') in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_misspelt_config_is_offered_the_nearest(tmp_path):
    write(tmp_path / 'faster-rcnn_r50.py', RUNNABLE)
    with pytest.raises(UserError, match=r"did you mean '.*faster-rcnn_r50\.py'\?"):
        load_config(tmp_path / 'faster_rcnn-r50.py')


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('no-such-package::a.py', "'no-such-package' is not installed"),
        ('no.such.package::a.py', "'no.such.package' is not installed"),
        ('::a.py', 'is not installed'),
        ('.', 'the folder'),
        ('checkpoint.pth', 'the config comes first'),
    ],
)
def test_what_is_not_a_config_is_refused(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / 'checkpoint.pth', '')
    with pytest.raises(UserError, match=words):
        load_config(name)


def test_a_file_in_the_place_of_the_work_dir_is_refused(tmp_path):
    path = write(tmp_path / 'c.py', RUNNABLE)
    for work_dir in (path, f'{path}/below'):
        with pytest.raises(UserError, match='another --work-dir'):
            load_config(path, work_dir=work_dir)
