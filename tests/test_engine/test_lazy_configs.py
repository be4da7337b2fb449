"""A pure Python config does what the same config as text does."""

import shutil
from pathlib import Path

import pytest

from mmela import engine

CONFIG = Path(__file__).parent / 'configs' / 'lazy_det.py'


@pytest.fixture
def lazy(tmp_path, shapes_root, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/shapes').symlink_to(shapes_root)
    return shutil.copy(CONFIG, tmp_path)


def test_types_are_names(lazy):
    cfg = engine.load_config(lazy)
    assert cfg.default_scope == 'mmdet'  # which the file does not say
    assert cfg.model.type == 'mmdet.RetinaNet' and cfg.optim_wrapper.type == 'OptimWrapper'
    assert cfg.model.backbone.norm_cfg.type == 'BN'
    assert cfg.model.backbone.plugins[0].cfg.type == 'mmela.ELA'
    engine.use_amp(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'


def test_its_plugins_and_data_are_checked(lazy, tool):
    wrong = 'model.backbone.plugins.0.position=after_conv9'
    status, err = tool('train.py', lazy, '--cfg-options', wrong)
    assert status == 2 and "got 'after_conv9'" in err
    status, err = tool('train.py', lazy, '--cfg-options', 'model.bbox_head.num_classes=5')
    assert status == 2 and 'model.bbox_head.num_classes=6' in err


def test_it_trains_and_tests_with_every_flag(lazy, tool, tmp_path):
    assert tool('train.py', lazy)[0] == 0
    checkpoint = tmp_path / 'work_dirs/lazy_det/epoch_1.pth'
    flags = ['--out', tmp_path / 'out.pkl', '--tta']
    assert tool('test.py', lazy, checkpoint, *flags)[0] == 0
    assert (tmp_path / 'out.pkl').is_file()


def test_a_name_that_cannot_be_imported_is_a_sentence(lazy, tool):
    path = Path(lazy)
    path.write_text(path.read_text().replace('RetinaNet', 'RetinaNot'))
    status, err = tool('train.py', lazy)
    assert status == 2 and 'RetinaNot' in err and 'Traceback' not in err


@pytest.mark.parametrize(
    ('content', 'told'),
    [('\ufeffa = 1'.encode(), 'without BOM'), ('a = "Müll"'.encode('latin-1'), 'Latin-1')],
)
def test_a_config_that_is_not_utf8_is_named(content, told, tool, tmp_path):
    path = tmp_path / 'config.py'
    path.write_bytes(content)
    status, err = tool('train.py', path)
    assert status == 2 and f'the config {path} is' in err and told in err
