"""How the names of mmela are found, and that nothing is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
from mmengine.registry import MODELS as ROOT
from mmengine.registry import TRANSFORMS, DefaultScope

import mmela
from mmela.errors import ConfigError
from mmela.registry import MODELS, ROOMS
from mmela.setup_openmmlab import register_plain_name


@pytest.mark.parametrize('scope', [None, 'mmengine', 'mmdet', 'mmseg'])
@pytest.mark.parametrize('name', ['ELA', 'mmela.ELA'])
def test_the_layer_resolves_from_every_scope(scope, name):
    with DefaultScope.overwrite_default_scope(scope):
        with ROOT.switch_scope_and_registry(None) as registry:
            assert registry.get(name) is mmela.ELA


@pytest.mark.parametrize('name', sorted(ROOMS))
def test_every_room_holds_what_the_table_says(name):
    assert ROOT.get(f'mmela.{name}').__module__.startswith(ROOMS[name].module)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'mmela.CSPDarkNet' is not a name.*'CSPDarknet'"):
        ROOT.get('mmela.CSPDarkNet')


def test_a_toolboxs_own_name_is_answered_with_ours_for_each_toolbox():
    with pytest.raises(ConfigError, match='DetMobileNetV2 for MMDetection or .*SegMobileNetV2 for'):
        ROOT.get('mmela.MobileNetV2')


def test_a_misspelt_transform_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'ELACodeLetterbox'"):
        TRANSFORMS.get('mmela.ELACodeLetterBox')


def test_looking_for_a_transform_says_nothing_else():
    result = run(
        'import mmela\n'
        'from mmengine.registry import TRANSFORMS\n'
        'TRANSFORMS.get("mmela.ELACodeLetterbox")\n'
        'try:\n    TRANSFORMS.get("mmela.Nonsense")\n'
        'except mmela.errors.ConfigError:\n    print("none")'
    )
    assert result.stdout.endswith('none\n'), result.stderr
    assert 'not installed' not in result.stdout + result.stderr, result.stderr


def test_membership_can_be_asked_without_an_error():
    assert 'ELA' in MODELS and 'CSPDarknet' in MODELS and 'mmela.ELA' in MODELS
    assert 'Elephant' not in MODELS and 'mmela.Elephant' not in MODELS


def test_a_name_that_is_no_string_is_refused_as_mmengine_does():
    with pytest.raises(TypeError, match='must be a str'):
        MODELS.get(5)


def test_a_taken_plain_name_is_a_warning_and_stays_as_it_is():
    class Other(mmela.ELA):
        pass

    with pytest.warns(UserWarning, match="the plain name 'ELA' is taken by .*write type='mmela."):
        register_plain_name('ELA', Other)
    assert ROOT.get('ELA') is mmela.ELA
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        register_plain_name('ELA', mmela.ELA)


def run(code):
    return subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize('scope', [None, 'mmdet', pytest.param('mmseg', marks=pytest.mark.long)])
def test_the_prefixed_name_needs_no_import_of_mmela(scope):
    """As in a config that a toolbox's own script reads."""
    result = run(
        'from mmengine.registry import DefaultScope, MODELS\n'
        f'with DefaultScope.overwrite_default_scope({scope!r}):\n'
        '    layer = MODELS.build(dict(type="mmela.ELA", in_channels=64))\n'
        'print(type(layer))'
    )
    assert result.stdout.strip() == "<class 'mmela.attentions.ela.ELA'>", result.stderr


def test_importing_mmela_and_the_layer_loads_no_toolbox():
    code = (
        'import sys, mmela\n'
        'from mmengine.registry import MODELS\n'
        'MODELS.get("mmela.ELA")\n'
        'print(sorted({m.split(".")[0] for m in sys.modules} & {"mmdet", "mmseg", "mmpretrain"}))'
    )
    assert run(code).stdout.strip() == '[]'


@pytest.mark.parametrize('kind', ['missing', 'broken'])
def test_a_toolbox_that_cannot_be_imported_is_named_with_the_cause(kind, tmp_path):
    if kind == 'broken':
        broken = tmp_path / 'mmdet'
        broken.mkdir()
        (broken / '__init__.py').write_text('raise RuntimeError("compiled for another torch")')
        hide = f'sys.path.insert(0, {str(tmp_path)!r})'
        cause = 'compiled for another torch'
    else:
        hide, cause = 'sys.modules["mmdet"] = None', 'ModuleNotFoundError'
    result = run(
        f'import sys; {hide}\n'
        'import mmela\n'
        'from mmengine.registry import MODELS\n'
        'try:\n    MODELS.get("mmela.CSPDarknet")\n'
        'except mmela.errors.ConfigError as error:\n    print(error)'
    )
    assert "'mmela.CSPDarknet' needs MMDetection" in result.stdout, result.stderr
    assert cause in result.stdout and 'pip install onedl-mmdetection' in result.stdout


def test_a_missing_mmengine_is_one_sentence():
    result = run('import sys; sys.modules["mmengine"] = None; import mmela')
    assert 'mmela needs PyTorch and MMEngine' in result.stderr.splitlines()[-1]
