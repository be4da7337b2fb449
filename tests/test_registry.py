"""How the names of mmela are found, and that nothing is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
from mmengine.registry import MODELS as ROOT
from mmengine.registry import TRANSFORMS, DefaultScope, Registry

import mmela
from mmela.errors import ConfigError
from mmela.registry import LAZY_MODELS, MODELS, LazyModule, LazyRegistry
from mmela.setup_openmmlab import register_plain_name


@pytest.mark.parametrize('scope', [None, 'mmengine', 'mmdet', 'mmseg'])
@pytest.mark.parametrize('name', ['ELA', 'mmela.ELA'])
def test_the_layer_resolves_from_every_scope(scope, name):
    with DefaultScope.overwrite_default_scope(scope):
        with ROOT.switch_scope_and_registry(None) as registry:
            assert registry.get(name) is mmela.ELA


@pytest.mark.parametrize('name', sorted(LAZY_MODELS))
def test_every_lazy_module_holds_the_names_of_the_table(name):
    pytest.importorskip(LAZY_MODELS[name].requires)
    assert ROOT.get(f'mmela.{name}').__module__.startswith(LAZY_MODELS[name].module)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ConfigError, match=r"'mmela.CSPDarkNet'.*'CSPDarknet'"):
        ROOT.get('mmela.CSPDarkNet')
    with pytest.raises(ConfigError, match="'ELACodeLetterbox'"):
        TRANSFORMS.get('mmela.ELACodeLetterBox')


def test_the_name_of_a_toolboxs_network_suggests_the_variant_of_each_toolbox():
    with pytest.raises(ConfigError, match='DetMobileNetV2 for MMDetection or .*SegMobileNetV2 for'):
        ROOT.get('mmela.MobileNetV2')


def test_membership_can_be_tested_without_an_error():
    assert 'ELA' in MODELS and 'CSPDarknet' in MODELS and 'mmela.ELA' in MODELS
    assert 'Elephant' not in MODELS and 'mmela.Elephant' not in MODELS


def test_a_name_that_is_not_a_string_is_refused_as_in_mmengine():
    with pytest.raises(TypeError, match='must be a str'):
        MODELS.get(5)


def test_a_plain_name_that_is_taken_is_a_warning_and_is_not_replaced():
    class Other(mmela.ELA):
        pass

    with pytest.warns(UserWarning, match="'ELA' is registered .*write type='mmela.ELA'"):
        register_plain_name('ELA', Other)
    assert ROOT.get('ELA') is mmela.ELA
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        register_plain_name('ELA', mmela.ELA)


@pytest.mark.parametrize(
    'code, cause',
    [
        ('import a_toolbox_that_is_missing', 'ModuleNotFoundError'),
        ('raise RuntimeError("compiled for another torch")', 'compiled for another torch'),
    ],
)
def test_a_toolbox_that_cannot_be_imported_is_named_with_cause_and_fix(
    code, cause, tmp_path, monkeypatch
):
    (tmp_path / 'needs_a_toolbox.py').write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    lazy = {'Net': LazyModule('needs_a_toolbox', 'MMDetection', 'mmdet')}
    registry = LazyRegistry(
        'model', lazy=lazy, parent=Registry('model', scope='mmengine'), scope='mmela'
    )
    with pytest.raises(ConfigError, match="'mmela.Net' needs MMDetection") as error:
        registry.get('Net')
    assert cause in str(error.value) and 'pip install ' in str(error.value)


def run(code):
    return subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120, check=False
    )


def test_the_prefixed_name_needs_no_import_of_mmela_and_loads_no_toolbox():
    """As in a config that a toolbox's own script reads; an unknown name gives no warning either."""
    result = run(
        'import sys\n'
        'from mmengine.registry import MODELS, TRANSFORMS\n'
        'print(type(MODELS.build(dict(type="mmela.ELA", in_channels=64))))\n'
        'print(sorted({m.split(".")[0] for m in sys.modules} & {"mmdet", "mmseg", "mmpretrain"}))\n'
        'try:\n    TRANSFORMS.get("mmela.Nonsense")\n'
        'except sys.modules["mmela.errors"].ConfigError:\n    print("none")'
    )
    assert result.stdout.splitlines() == ["<class 'mmela.attentions.ela.ELA'>", '[]', 'none']
    assert 'not installed' not in result.stderr


@pytest.mark.long
@pytest.mark.core
@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_the_prefixed_name_needs_no_import_of_mmela_in_the_scope_of_a_toolbox(scope):
    result = run(
        'from mmengine.registry import DefaultScope, MODELS\n'
        f'with DefaultScope.overwrite_default_scope({scope!r}):\n'
        '    layer = MODELS.build(dict(type="mmela.ELA", in_channels=64))\n'
        'print(type(layer))'
    )
    assert result.stdout.strip() == "<class 'mmela.attentions.ela.ELA'>", result.stderr


def test_a_missing_mmengine_is_one_sentence():
    result = run('import sys; sys.modules["mmengine"] = None; import mmela')
    assert 'mmela needs PyTorch and MMEngine' in result.stderr.splitlines()[-1]
