"""The doctor names what is broken and the command that fixes it, and nothing else."""

import os
import subprocess
import sys

import pytest
import torch

from mmela.commands.doctor import diagnose

REPORT = 'from mmela.commands.doctor import diagnose\nfor finding in diagnose(): print(finding)'


def report_of(repo_root, *paths, before=''):
    """The lines of a report from another process, by subject; `paths` hide installed packages."""
    search = os.pathsep.join(map(str, (*paths, repo_root)))
    done = subprocess.run(
        [sys.executable, '-c', f'{before}\n{REPORT}'],
        env={**os.environ, 'PYTHONPATH': search},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(('ok ', 'PROBLEM'))]
    return {line.split()[1]: line for line in lines}


def problems(report):
    return {subject for subject, line in report.items() if line.startswith('PROBLEM')}


def test_this_environment_is_fine_and_trains_a_step():
    found = list(diagnose())
    assert not [str(finding) for finding in found if not finding.is_ok]
    assert 'trained a step' in str(found[-1])


def test_numpy_that_torch_cannot_use_gets_the_command(monkeypatch):
    def numpy(self):
        raise RuntimeError('Numpy is not available')

    monkeypatch.setattr(torch.Tensor, 'numpy', numpy)
    finding = next(f for f in diagnose() if f.subject == 'NumPy')
    assert not finding.is_ok and "'numpy<2'" in finding.says


@pytest.mark.long
@pytest.mark.core
def test_a_torchvision_for_another_torch(repo_root, tmp_path):
    (tmp_path / 'torchvision').mkdir()
    message = 'operator torchvision::nms does not exist'
    (tmp_path / 'torchvision' / '__init__.py').write_text(f'raise RuntimeError({message!r})')
    report = report_of(repo_root, tmp_path)
    assert 'torchvision' in problems(report)
    assert message in report['torchvision'] and 'pip install torch==' in report['torchvision']


@pytest.mark.long
@pytest.mark.core
def test_mmcv_without_its_operators(repo_root):
    """As mmcv-lite, or a build that found no torch, leave it."""
    hide = 'import sys, importlib.util as u; find = u.find_spec; '
    hide += 'u.find_spec = lambda n, *a: None if n == "mmcv._ext" else find(n, *a)'
    report = report_of(repo_root, before=hide)
    assert problems(report) == {'MMCV'}
    assert 'pip uninstall' in report['MMCV'] and '--no-build-isolation' in report['MMCV']


@pytest.mark.long
def test_a_toolbox_that_asserts_on_a_version(repo_root, tmp_path):
    (tmp_path / 'mmseg').mkdir()
    (tmp_path / 'mmseg' / '__init__.py').write_text('raise AssertionError("MMCV==9 is used")')
    report = report_of(repo_root, tmp_path)
    assert 'MMSegmentation' in problems(report) and 'MMCV==9 is used' in report['MMSegmentation']
    assert 'pip install -U' in report['MMSegmentation']
