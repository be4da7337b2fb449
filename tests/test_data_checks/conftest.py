"""A small data set that each test damages in its own way."""

import json
import shutil

import pytest

from mmela.engine import load_config
from mmela.engine.checks.dataset import findings_of
from mmela.engine.checks.dataset.content import look_at


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


@pytest.fixture
def shapes(shapes_root, tmp_path):
    """A copy of the embedded data set: 8 training and 4 validation scenes of 64 px."""
    return shutil.copytree(shapes_root, tmp_path / 'shapes')


@pytest.fixture
def det(tiny_det, shapes):
    """The tiny detection config on that copy."""
    return load_config(tiny_det, [f'data_root={shapes}/'])


@pytest.fixture
def seg(tiny_seg, shapes):
    """The tiny segmentation config on that copy."""
    return load_config(tiny_seg, [f'data_root={shapes}/'])


@pytest.fixture
def find():
    """All findings on a config, by default on every file: faults and warnings as texts."""

    def find(cfg, *splits, every=True):
        splits = splits or ('train', 'val')
        found = list(findings_of(cfg, splits, lambda tasks, _: map(look_at, tasks), every=every))
        faults = '\n'.join(str(f) for f in found if f.is_fault)
        return faults, '\n'.join(str(f) for f in found if not f.is_fault)

    return find


@pytest.fixture
def edit(shapes):
    """Changes the training's annotation file by a function of its content."""

    def edit(change, split='train'):
        path = shapes / f'annotations/instances_{split}.json'
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        return path

    return edit
