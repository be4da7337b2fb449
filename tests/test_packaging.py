"""What is built from the checkout, and that the tools work from an installation."""

import json
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
EXTRAS = {'onedl', 'openmmlab', 'tests', 'onedl-cls', 'openmmlab-cls', 'triton', 'export', 'look'}


def start(*command, cwd, **environ):
    """Runs a command to its end."""
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=os.environ | environ,
        capture_output=True,
        text=True,
    )


def run(*command, cwd, **environ):
    """Runs a command that must succeed and returns its output."""
    done = start(*command, cwd=cwd, **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def backend(call, tree, target):
    """Calls setuptools' build backend in a tree, as pip does."""
    target.mkdir(exist_ok=True)
    code = f'from setuptools import build_meta; build_meta.{call}({str(target)!r})'
    run(sys.executable, '-c', code, cwd=tree)
    return next(target.iterdir())


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    """A copy of the checkout, so that building leaves nothing behind in it."""
    copy = tmp_path_factory.mktemp('tree') / 'mmela'
    rubbish = shutil.ignore_patterns('__pycache__', '.mim', '*.egg-info')
    copy.mkdir()
    for name in ('mmela', 'mmela_cli', 'configs', 'tools', 'requirements'):
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
    return backend('build_wheel', sdist_tree, tmp_path_factory.mktemp('wheel') / 'built')


@pytest.fixture(scope='module')
def site(wheel, tmp_path_factory):
    """A folder with the unpacked wheel, as pip installs it."""
    folder = tmp_path_factory.mktemp('site')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def shared_files():
    """What a wheel has to have below mmela/.mim."""
    files = [ROOT / 'model-index.yml', *ROOT.glob('configs/**/*'), *ROOT.glob('tools/**/*')]
    return {
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.is_file()
        and '__pycache__' not in path.parts
        and not {'setup_env', 'matrix.py'} & set(path.parts)
    }


def test_a_wheel_built_from_the_sdist_holds_every_config_tool_and_the_model_index(wheel):
    found = {name.removeprefix('mmela/.mim/') for name in names(wheel) if '/.mim/' in name}
    assert found == shared_files()


def test_the_checkout_and_its_sdist_give_the_same_wheel(tree, wheel, tmp_path):
    assert names(backend('build_wheel', tree, tmp_path / 'wheel')) == names(wheel)


def test_the_wheel_holds_every_module_and_no_tests(wheel):
    files = [*ROOT.glob('mmela/**/*.py'), *ROOT.glob('mmela_cli/*.py')]
    modules = {path.relative_to(ROOT).as_posix() for path in files}
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


@pytest.mark.parametrize(
    'name',
    [
        'demo.py',
        'dataset_converters/shapes.py',
        'analysis_tools/benchmark_ops.py',
        'analysis_tools/benchmark_model.py',
        'analysis_tools/compile_kernels.py',
    ],
)
def test_a_tool_that_needs_a_checkout_says_so(name, site, tmp_path):
    done = start(sys.executable, site / 'mmela/.mim/tools' / name, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith('error: ') and 'needs a checkout of mmela' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_tool_without_mmela_names_the_command_that_installs_it(tmp_path):
    shutil.copytree(ROOT / 'tools', tmp_path / 'tools')
    shutil.copy(ROOT / 'pyproject.toml', tmp_path)
    arguments = {
        'train.py': ['a.py'],
        'test.py': ['a.py', 'a.pth'],
        'analysis_tools/get_flops.py': ['a.py'],
    }
    for name, words in arguments.items():
        # -S leaves out site-packages, and with it mmela.
        done = start(
            sys.executable, '-S', tmp_path / 'tools' / name, *words, cwd=tmp_path, PYTHONPATH=''
        )
        assert done.returncode == 2
        assert done.stderr.startswith('error: ')
        assert f'pip install -e {tmp_path}' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.long
@pytest.mark.core
def test_an_installation_trains_and_tests(site, tiny_det, shapes_root, tmp_path):
    """With `dist_train.sh`, so that the launcher is found too."""
    tools = site / 'mmela/.mim/tools'
    # A network after one epoch finds nothing above the usual threshold.
    options = ['--cfg-options', f'data_root={shapes_root}/', 'model.test_cfg.score_thr=0']
    environ = dict(PYTHONPATH=str(site), PYTHON=sys.executable, PORT='29517')
    train = ['bash', tools / 'dist_train.sh', tiny_det, 1, '--work-dir', 'work', *options]
    run(*train, cwd=tmp_path, **environ)
    test = [tools / 'test.py', tiny_det, 'work/epoch_1.pth', '--work-dir', 'work', *options]
    run(sys.executable, *test, cwd=tmp_path, **environ)
    assert 'coco/bbox_mAP' in json.loads((tmp_path / 'work/metrics.json').read_text())


#: Arguments and exit status of the tools that an installation has in addition to train and test.
OTHER_TOOLS = {
    'analysis_tools/get_flops.py': (['mmela::det/yolox/yolox_nano-ela-t_bccd.py'], 0),
    'analysis_tools/attention_walk.py': ([], 0),
    'model_converters/ela_code_yolox.py': (['nothing.pth', 'out.pth'], 2),
    'model_converters/megvii_yolox.py': (['nothing.pth', 'out.pth'], 2),
    'model_converters/publish_model.py': (['nothing.pth', 'out.pth'], 2),
    'dataset_converters/voc_to_coco.py': (['nothing'], 2),
    'dataset_converters/voc_aug.py': (['nothing', 'nothing'], 2),
}


@pytest.mark.long
def test_the_other_tools_work_from_an_installation(site, tmp_path):
    """In one process, because importing a toolbox takes most of the time."""
    code = f"""
import os, runpy, sys
import mmela
print(mmela.__file__)
for name, (arguments, _) in {OTHER_TOOLS!r}.items():
    path = os.path.join({str(site)!r}, 'mmela/.mim/tools', name)
    sys.argv, sys.path[0] = [path, *arguments], os.path.dirname(path)
    try:
        runpy.run_path(path, run_name='__main__')
    except SystemExit as end:
        print('status', name, end.code)
"""
    done = start(sys.executable, '-c', code, cwd=tmp_path, PYTHONPATH=str(site))
    assert done.stdout.startswith(str(site)), done.stderr
    statuses = dict(line.split()[1:] for line in done.stdout.splitlines() if 'status' in line)
    assert statuses == {name: str(status) for name, (_, status) in OTHER_TOOLS.items()}, done.stderr


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
