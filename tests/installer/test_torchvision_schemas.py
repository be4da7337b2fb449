"""The schemas that let a torchvision without its operators be imported with a CPU torch."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.installer

HOOK = Path(__file__).resolve().parents[2] / 'tools' / 'setup_env'
SIGNATURE = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
WITH_HOOK = 'import torchvision_schemas; torchvision_schemas.activate(); '

needs_mmpretrain = pytest.mark.skipif(
    find_spec('mmpretrain') is None, reason='MMPreTrain is not installed'
)
needs_torchvision = pytest.mark.skipif(find_spec('torchvision') is None, reason='no torchvision')


def run(code, *options, path=()):
    """Runs code in a new process, where nothing is imported yet."""
    env = os.environ | {'PYTHONPATH': os.pathsep.join(map(str, path))} if path else None
    command = [sys.executable, *options, '-c', code]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=180)


def run_bare(code, *first):
    """The same without the .pth files of the environment, so that only `code` adds the hook."""
    installed = [folder for folder in sys.path if folder.endswith('-packages')]
    return run(code, '-S', path=[*first, HOOK, *installed])


@pytest.fixture
def torchvision_like(tmp_path):
    """Makes a package like torchvision; `operators` are those that it can load."""

    def make(*operators, described=('nms', 'qnms')):
        folder = tmp_path / 'torchvision'
        folder.mkdir()
        (folder / '__init__.py').write_text('from . import extension, _meta_registrations\n')
        load = "import torch\nlibrary = torch.library.Library('torchvision', 'DEF')\n"
        for name in operators:
            load += f'library.define({name + SIGNATURE!r})\n'
            load += f"library.impl('{name}', lambda boxes, scores, iou: scores * 2, 'CPU')\n"
        (folder / 'extension.py').write_text(load if operators else '')
        describe = 'import torch\n'
        for name in described:
            describe += f"torch.library.register_fake('torchvision::{name}')(lambda *a: a[1])\n"
        (folder / '_meta_registrations.py').write_text(describe)
        return tmp_path

    return make


IMPORT = 'import torch, torchvision; print("imported", hasattr(torch.ops.torchvision, "qnms")); '
CALL = 'print(torch.ops.torchvision.nms(torch.zeros(1, 4), torch.ones(1), 0.5).tolist())'


def test_operators_that_cannot_be_loaded_no_longer_stop_the_import(torchvision_like):
    folder = torchvision_like()
    without = run_bare(IMPORT, folder)
    assert 'operator torchvision::nms does not exist' in without.stderr
    assert run_bare(WITH_HOOK + IMPORT, folder).stdout == 'imported True\n'


def test_an_operator_that_is_only_declared_cannot_be_called(torchvision_like):
    result = run_bare(WITH_HOOK + IMPORT + CALL, torchvision_like())
    assert "Could not run 'torchvision::nms'" in result.stderr and result.returncode


def test_a_torchvision_that_loads_its_operators_is_left_alone(torchvision_like):
    """Such as an old one without the second operator: nothing is declared for it either."""
    folder = torchvision_like('nms', described=['nms'])
    result = run_bare(WITH_HOOK + IMPORT + CALL, folder)
    assert result.stdout == 'imported False\n[2.0]\n', result.stderr


def test_the_hook_loads_nothing_before_torchvision_is_imported():
    code = WITH_HOOK + 'import sys; print({"torch", "torchvision"} & set(sys.modules))'
    assert run_bare(code).stdout == 'set()\n'


@needs_torchvision
def test_the_installed_torchvision_works_or_says_that_its_operators_are_missing():
    code = (
        'import torch, torchvision\n'
        'print(torchvision.transforms.functional.hflip(torch.tensor([[[1, 2]]])).tolist())\n'
        'boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8]])\n'
        'try:\n    print(torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.5).tolist())\n'
        'except RuntimeError as error:\n    print(str(error).split(".")[0])'
    )
    lines = run_bare(WITH_HOOK + code).stdout.splitlines()
    assert lines in (['[[[2, 1]]]', '[0]'], ['[[[2, 1]]]', "Couldn't load custom C++ ops"])


@needs_mmpretrain
@needs_torchvision
def test_the_toolboxes_can_be_imported_together_without_mmela():
    code = (
        'import sys, mmdet.models, mmseg.models, mmpretrain.models; print("mmela" in sys.modules)'
    )
    result = run(code)
    assert (result.returncode, result.stdout) == (0, 'False\n'), result.stderr[-2000:]
