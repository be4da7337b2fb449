"""What is built from the checkout: wheel, sdist, editable links, model index."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = {'onedl', 'openmmlab', 'tests', 'cls', 'triton', 'export'}


def run(*arguments, cwd, **environ):
    """Runs this Python, and shows what it said where it fails."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def backend(call, tree, target):
    """Calls setuptools' build backend in a tree, as pip does."""
    target.mkdir(exist_ok=True)
    code = f'from setuptools import build_meta; build_meta.{call}({str(target)!r})'
    run('-c', code, cwd=tree)
    return next(target.iterdir())


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    """A copy of the checkout, so that building leaves nothing behind in it."""
    copy = tmp_path_factory.mktemp('tree') / 'mmela'
    rubbish = shutil.ignore_patterns('__pycache__', '.mim', '*.egg-info')
    copy.mkdir()
    for name in ('mmela', 'configs', 'tools', 'requirements'):
        shutil.copytree(ROOT / name, copy / name, ignore=rubbish)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    return copy


@pytest.fixture(scope='module')
def sdist_tree(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp('sdist')
    shutil.unpack_archive(backend('build_sdist', tree, folder / 'built'), folder)
    return next(folder.glob('mmela-*'))


@pytest.fixture(scope='module')
def wheel(sdist_tree, tmp_path_factory):
    """The wheel that pip makes of the sdist."""
    folder = tmp_path_factory.mktemp('wheel')
    options = ('--no-deps', '--no-build-isolation', '--no-index', '-q', '-w', folder)
    run('-m', 'pip', 'wheel', *options, sdist_tree, cwd=folder)
    return next(folder.glob('*.whl'))


def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def shared_files():
    """What a wheel has to have below mmela/.mim."""
    files = [ROOT / 'model-index.yml', *ROOT.glob('configs/**/*'), *ROOT.glob('tools/**/*')]
    return {
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.is_file() and '__pycache__' not in path.parts and 'setup_env' not in path.parts
    }


def test_a_wheel_built_from_the_sdist_holds_every_config_tool_and_the_model_index(wheel):
    found = {name.removeprefix('mmela/.mim/') for name in names(wheel) if '/.mim/' in name}
    assert found == shared_files()


def test_the_checkout_and_its_sdist_give_the_same_wheel(tree, wheel, tmp_path):
    assert names(backend('build_wheel', tree, tmp_path / 'wheel')) == names(wheel)


def test_the_wheel_holds_every_module_and_no_tests(wheel):
    modules = {path.relative_to(ROOT).as_posix() for path in ROOT.glob('mmela/**/*.py')}
    python = {name for name in names(wheel) if name.endswith('.py') and '/.mim/' not in name}
    assert python == {name for name in modules if '/.mim/' not in name}


def test_the_wheel_offers_the_extras_and_asks_for_no_torch_and_no_toolbox(wheel):
    with zipfile.ZipFile(wheel) as archive:
        path = next(name for name in archive.namelist() if name.endswith('dist-info/METADATA'))
        metadata = Parser().parsestr(archive.read(path).decode())
    assert set(metadata.get_all('Provides-Extra')) == EXTRAS
    hard = [line for line in metadata.get_all('Requires-Dist') if 'extra ==' not in line]
    assert hard == ['numpy']
    assert metadata['Version'] == version()


def test_an_installed_wheel_finds_its_configs_under_mmela(wheel, tmp_path):
    site = tmp_path / 'site'
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (tmp_path / 'child.py').write_text("_base_ = 'mmela::det/yolox/yolox_nano-ela-t_bccd.py'\n")
    code = (
        'import mmela\n'
        'from mmengine.config import Config\n'
        "print(mmela.__file__, Config.fromfile('child.py').model.backbone.type)\n"
    )
    answer = run('-c', code, cwd=tmp_path, PYTHONPATH=str(site))
    assert str(site) in answer and 'mmela.CSPDarknet' in answer


def test_an_editable_installation_links_configs_so_that_edits_count(tree, tmp_path):
    backend('build_editable', tree, tmp_path / 'wheel')
    for name in ('configs', 'tools', 'model-index.yml'):
        link = tree / 'mmela' / '.mim' / name
        assert link.is_symlink() and link.resolve() == tree / name


def test_the_model_index_names_every_metafile_and_no_other():
    named = set(yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import'])
    assert named == {
        path.relative_to(ROOT).as_posix() for path in ROOT.glob('configs/*/*/metafile.yml')
    }


def test_every_model_of_a_metafile_has_its_config():
    for metafile in ROOT.glob('configs/*/*/metafile.yml'):
        for model in yaml.safe_load(metafile.read_text())['Models']:
            assert (ROOT / model['Config']).is_file(), (metafile, model['Config'])


def version():
    return re.search(r"__version__ = '(.+)'", (ROOT / 'mmela' / 'version.py').read_text())[1]


def test_the_version_is_written_in_one_place():
    for name in ('pyproject.toml', 'setup.py', 'CITATION.cff', 'mmela/__init__.py'):
        assert f"'{version()}'" not in (ROOT / name).read_text(), name
