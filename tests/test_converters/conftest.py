"""The converters as a person calls them."""

import runpy
import sys

import pytest
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.registry import DefaultScope

from mmela import engine


@pytest.fixture(scope='session')
def build(repo_root):
    """Builds the detector of a config, a path in the repository or a name of MMDetection's."""
    register_all_modules(init_default_scope=False)

    def run(config, options=None):
        path = config if '::' in config else repo_root / config
        with DefaultScope.overwrite_default_scope('mmdet'):
            return MODELS.build(engine.load_config(path, options).model).eval()

    return run


@pytest.fixture
def convert_tool(repo_root, monkeypatch, capsys):
    """Runs a converter in this process; returns its exit status, stdout and stderr."""

    def run(name, *arguments):
        monkeypatch.setenv('LOCAL_RANK', '0')
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        main = runpy.run_path(str(repo_root / 'tools/model_converters' / name))['main']
        capsys.readouterr()
        try:
            status = main()
        except SystemExit as exit_:
            status = exit_.code
        return status, *capsys.readouterr()

    return run
