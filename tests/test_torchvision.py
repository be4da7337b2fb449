"""A missing or broken torchvision is named by the networks that need it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from mmela.distributions import install_command

pytestmark = pytest.mark.long


def look_up(*names, after):
    """What a user of networks of mmela is shown; the code `after` runs before."""
    code = (
        'import mmela\nfrom mmengine.registry import MODELS\n'
        f'for name in {names}:\n'
        '    try:\n        print(MODELS.get(f"mmela.{name}").__name__)\n'
        '    except mmela.errors.ConfigError as error:\n        print(error)'
    )
    command = [sys.executable, '-c', f'import sys\n{after}\n{code}']
    result = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.skipif(find_spec('mmpretrain') is None, reason='MMPreTrain is not installed')
@pytest.mark.parametrize('name', ['DetResNet', 'ClsResNet'])
def test_a_torchvision_that_does_not_fit_is_named_with_the_command_that_fixes_it(name, tmp_path):
    broken = tmp_path / 'torchvision'
    broken.mkdir()
    message = 'operator torchvision::nms does not exist'
    (broken / '__init__.py').write_text(f'raise RuntimeError({message!r})')
    (shown,) = look_up(name, after=f'sys.path.insert(0, {str(tmp_path)!r})')
    assert f"'mmela.{name}' needs" in shown and message in shown
    assert f'`pip install torch=={torch.__version__.split("+")[0]} torchvision' in shown


def test_without_the_extra_only_classification_stops_and_names_it():
    hide = 'sys.modules["mmpretrain"] = sys.modules["torchvision"] = None'
    found = look_up('DetResNet', 'SegResNet', 'ClsResNet', after=hide)
    assert found[:2] == ['DetResNet', 'SegResNet']
    assert "'mmela.ClsResNet' needs MMPreTrain" in found[2]
    assert install_command('mmpretrain') in found[2] and len(found) == 3
