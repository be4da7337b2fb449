"""The set-up program: what it reuses, what it does again, and its messages."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.installer

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / 'tools' / 'setup_env'
KEY = {'mmcv': '2.3.6', 'torch': '2.13.0+cpu', 'python': 'cp311', 'compiler': 'gcc12.2.0'}


@pytest.fixture(autouse=True)
def program_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(PROGRAM))


def set_up(*arguments, **environ):
    """Runs the program without an index to install from."""
    env = {name: value for name, value in os.environ.items() if not name.startswith('PIP_')}
    env |= {'PIP_NO_INDEX': '1', 'PIP_CONFIG_FILE': os.devnull, **environ}
    command = [sys.executable, str(PROGRAM), '--python-chosen', *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def environment(folder, **state):
    """An environment with a record and nothing else."""
    import env_state

    made = env_state.Environment(folder)
    made.start('a key', 'torch==2.13.0', torch_chosen=False)
    made.write(**state)
    return made


def prepare(made, monkeypatch, torch='torch==2.13.0'):
    """Asks what is to be done, with a key that has not changed and a Python that runs."""
    import env_state
    import setup_program

    monkeypatch.setattr(setup_program, 'environment_key', lambda *parts: 'a key')
    monkeypatch.setattr(env_state.Environment, 'runs', lambda self: True)
    return setup_program.prepare(made, torch)


def test_a_failed_step_is_named_with_the_end_of_its_log_and_is_not_trusted_afterwards(tmp_path):
    done = set_up('--venv', tmp_path / 'venv')
    assert done.returncode == 2
    assert 'Step "pip and build tools" failed: ' in done.stderr and 'Traceback' not in done.stderr
    assert '    ERROR: ' in done.stderr  # the log's end
    assert str(tmp_path / 'venv' / 'setup' / 'logs' / 'build-tools.log') in done.stderr

    again = set_up('--venv', tmp_path / 'venv')
    assert 'done before' in again.stdout and 'pip and build tools ...' in again.stdout
    assert again.returncode == 2


def test_a_folder_that_the_program_did_not_make_is_left_alone(tmp_path):
    (tmp_path / 'precious').touch()
    done = set_up('--venv', tmp_path)
    assert done.returncode == 2
    assert 'VENV=' in done.stderr and 'Traceback' not in done.stderr
    assert (tmp_path / 'precious').exists()


def test_a_missing_compiler_is_one_sentence_with_the_fix(tmp_path):
    done = set_up('--venv', tmp_path / 'venv', CXX='no-such-compiler')
    assert done.returncode == 2
    assert 'CXX=no-such-compiler' in done.stderr and 'install one' in done.stderr


def test_an_environment_interrupted_while_pip_installed_is_created_again(tmp_path, monkeypatch):
    made = environment(tmp_path / 'venv', done=['venv', 'build-tools'], running='torch')
    (made.venv / 'half-a-package').touch()
    assert prepare(made, monkeypatch)[1]
    assert made.state['done'] == [] and not (made.venv / 'half-a-package').exists()


def test_an_environment_interrupted_while_mmcv_was_compiled_is_continued(tmp_path, monkeypatch):
    made = environment(tmp_path / 'venv', done=['venv', 'build-tools', 'torch'], running='mmcv')
    assert prepare(made, monkeypatch)[1]
    assert made.state['done'] == ['venv', 'build-tools', 'torch']


def test_a_finished_environment_that_lost_a_package_is_created_again(tmp_path, monkeypatch):
    made = environment(tmp_path / 'venv', done=['venv'], complete=True)
    assert prepare(made, monkeypatch)[1]
    assert made.state['done'] == [] and not made.state['complete']


def test_a_finished_environment_is_added_to_where_a_new_version_asks_for_more(
    tmp_path, monkeypatch
):
    site = tmp_path / 'venv' / 'lib' / 'python3.11' / 'site-packages'
    (site / 'torch-2.13.0.dist-info').mkdir(parents=True)
    (site / 'mmcv').mkdir()
    (site / 'mmcv' / '_ext.so').touch()
    (tmp_path / 'venv' / 'bin').mkdir()
    (tmp_path / 'venv' / 'bin' / 'python').symlink_to(sys.executable)
    state = dict(key='of before', complete=True, distributions={'torch': 'torch-2.13.0'})
    assert prepare(environment(tmp_path / 'venv', **state), monkeypatch)[1]
    assert site.is_dir()

    (site / 'torch-2.13.0.dist-info').rmdir()
    assert prepare(environment(tmp_path / 'venv', **state), monkeypatch)[1]
    assert not site.exists()


@pytest.mark.parametrize(
    ('done', 'expected'), [(['venv', 'torch'], 'torch==2.12.1'), (['venv'], 'torch==2.13.0')]
)
def test_a_chosen_torch_holds_once_it_was_installed(tmp_path, monkeypatch, done, expected):
    made = environment(tmp_path / 'venv', torch='torch==2.12.1', torch_chosen=True, done=done)
    assert prepare(made, monkeypatch, torch='')[0] == expected


@pytest.mark.parametrize('component', [*KEY, 'architectures', 'cuda'])
def test_the_cached_wheel_differs_with_each_component(component):
    from mmcv_wheel import CudaOps, wheel_key

    cpu, cuda = CudaOps(wanted=False), CudaOps(wanted=True, architectures='9.0')
    if component == 'architectures':
        assert wheel_key(**KEY, cuda_ops=cuda) != wheel_key(
            **KEY, cuda_ops=CudaOps(wanted=True, architectures='8.0')
        )
    elif component == 'cuda':
        assert wheel_key(**KEY, cuda_ops=cuda) != wheel_key(**KEY, cuda_ops=cpu)
    else:
        other = KEY | {component: 'other'}
        assert wheel_key(**KEY, cuda_ops=cpu) != wheel_key(**other, cuda_ops=cpu)


def test_the_environment_differs_with_torch_python_place_and_every_file(tmp_path):
    from env_state import environment_key

    file = tmp_path / 'requirements.txt'
    file.write_text('numpy\n')
    base = ('torch==2.13.0', '3.11.7', Path('.venv'), [file])
    keys = {environment_key(*base)}
    for position, other in enumerate(['torch==2.12.1', '3.12.1', Path('other')]):
        keys.add(environment_key(*base[:position], other, *base[position + 1 :]))
    file.write_text('numpy<2\n')
    keys.add(environment_key(*base))
    assert len(keys) == 5


def test_a_wheel_that_is_broken_or_has_no_ops_is_not_taken_from_the_cache(tmp_path):
    from mmcv_wheel import cached_wheel

    (tmp_path / 'a.whl').write_bytes(b'PK cut off')
    with zipfile.ZipFile(tmp_path / 'b.whl', 'w') as archive:
        archive.writestr('mmcv/__init__.py', '')
    assert cached_wheel(tmp_path) is None
    with zipfile.ZipFile(tmp_path / 'c.whl', 'w') as archive:
        archive.writestr('mmcv/_ext.cpython-311-x86_64-linux-gnu.so', '')
    assert cached_wheel(tmp_path) == tmp_path / 'c.whl'


def test_without_nvcc_a_cuda_torch_gets_cpu_ops_and_a_sentence(monkeypatch):
    import mmcv_wheel

    monkeypatch.delenv('FORCE_CUDA', raising=False)
    monkeypatch.setattr(mmcv_wheel, 'find_nvcc', lambda: None)
    plan = mmcv_wheel.plan_cuda_ops(mmcv_wheel.Torch('2.13.0+cu130', '13.0', 1, ('9.0',)))
    assert (
        not plan.wanted
        and 'CUDA toolkit 13.0' in plan.sentence
        and 'detectors will not' in plan.sentence
    )


def test_with_an_nvcc_that_fits_the_cuda_ops_are_built_for_the_visible_gpus(monkeypatch):
    import mmcv_wheel

    monkeypatch.delenv('FORCE_CUDA', raising=False)
    monkeypatch.delenv('TORCH_CUDA_ARCH_LIST', raising=False)
    monkeypatch.setattr(mmcv_wheel, 'find_nvcc', lambda: '/cuda/bin/nvcc')
    monkeypatch.setattr(mmcv_wheel, 'cuda_of_nvcc', lambda nvcc: '13.1')
    plan = mmcv_wheel.plan_cuda_ops(mmcv_wheel.Torch('2.13.0+cu130', '13.0', 2, ('9.0', '9.0')))
    assert plan.wanted and plan.architectures == '9.0' and not plan.sentence
    old = mmcv_wheel.plan_cuda_ops(mmcv_wheel.Torch('2.4.0+cu121', '12.1', 1, ('9.0',)))
    assert not old.wanted and '13.1' in old.sentence and '12.1' in old.sentence


def test_the_header_is_compiled_with_every_flag_of_the_file_and_none_of_its_names():
    from pch_compiler import flags_of

    line = '-MMD -MF a.o.d -O2 -Ifolder -c -c a.cpp -o a.o -std=c++17 -DNAME=_ext'
    assert flags_of(line.split()) == ['-O2', '-Ifolder', '-std=c++17', '-DNAME=_ext']


@pytest.mark.parametrize(
    ('line', 'sentence'),
    [
        ('OSError: [Errno 28] No space left on device', 'the disk is full'),
        ("NewConnectionError('... Name or service not known')", 'cannot be reached'),
        ('ERROR: No matching distribution found for torch==99', 'found for torch==99'),
        ('g++: fatal error: Killed signal terminated program cc1plus', 'MAX_JOBS=1'),
        ('error: expected ; before } token', ''),
    ],
)
def test_known_causes_of_a_failure_get_a_sentence(line, sentence):
    from step_runner import explain

    assert (sentence in explain(line)) if sentence else explain(line) == ''


def test_the_compilers_counter_is_read_from_its_last_line():
    from step_runner import ninja_counter

    assert ninja_counter('[1/78] g++ a\n[2/78] g++ b\nwarning') == '[2/78]'
    assert ninja_counter('fetching') == ''


@pytest.mark.parametrize(
    ('cuda', 'importable', 'hooked'), [('', False, True), ('', True, False), ('13.0', False, False)]
)
def test_torchvision_gets_schemas_only_with_a_cpu_torch_and_only_if_it_fails_without(
    tmp_path, monkeypatch, cuda, importable, hooked
):
    import torchvision_schemas
    from env_state import Environment
    from env_steps import Setup
    from mmcv_wheel import Torch

    site_packages = tmp_path / 'lib' / 'python3.11' / 'site-packages'
    site_packages.mkdir(parents=True)
    torchvision_schemas.install(site_packages)  # of an earlier set-up: the question is without it

    def can_import(self, module):
        assert not list(site_packages.iterdir()), 'an earlier hook affects the answer'
        return importable

    monkeypatch.setattr(Setup, 'pip', lambda self, *arguments: None)
    monkeypatch.setattr(Setup, 'torch_pin', lambda self: [])
    monkeypatch.setattr(Setup, 'ask_torch', lambda self: Torch('2.13.0', cuda, 0, ()))
    monkeypatch.setattr(Setup, 'can_import', can_import)
    outcome = Setup(Environment(tmp_path), 'torch==2.13.0').install_torchvision()
    found = sorted(path.name for path in site_packages.iterdir())
    assert found == (['torchvision_schemas.pth', 'torchvision_schemas.py'] if hooked else [])
    assert ('without its operators' in outcome) is hooked


def test_what_is_installed_for_torchvision_runs_at_the_start_of_python(tmp_path):
    import torchvision_schemas

    torchvision_schemas.install(tmp_path)
    code = f'import site, sys; site.addsitedir({str(tmp_path)!r}); print(sys.meta_path[0].__name__)'
    done = subprocess.run([sys.executable, '-S', '-c', code], capture_output=True, text=True)
    assert done.stdout == 'BeforeDescription\n', done.stderr
    torchvision_schemas.remove(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] in ([], ['__pycache__'])
