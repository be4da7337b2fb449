import importlib.metadata
import importlib.util
import sys

import pytest
import torch

from mmela import distributions
from mmela.engine import UserError, check_environment
from mmela.errors import torchvision_command


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Puts packages of given code in front of everything that is installed."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(**packages):
        for name, code in packages.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / '__init__.py').write_text(code)
            for module in [m for m in sys.modules if m == name or m.startswith(f'{name}.')]:
                monkeypatch.delitem(sys.modules, module)

    return install


def hide(monkeypatch, name):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda m: None if m == name else there(m))


def complaint(scope):
    with pytest.raises(UserError) as error:
        check_environment(scope)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_what_is_installed_here_is_fine():
    check_environment('mmdet')


_TOOLBOXES = ('mmcv', 'mmdetection', 'mmsegmentation', 'mmpretrain')
MODULES = ('mmcv', 'mmdet', 'mmseg', 'mmpretrain')
FAMILIES = {
    'onedl-mmengine': [
        f'onedl-{n}' for n in ('mmcv', 'mmdetection', 'mmsegmentation', 'mmpretrain')
    ],
    'mmengine': ("mim install 'mmcv", 'mmdet', 'mmsegmentation', 'mmpretrain'),
}


@pytest.mark.parametrize('engine', FAMILIES)
def test_advice_names_the_distributions_that_go_with_the_one_that_is_installed(engine, monkeypatch):
    """Neither family is installed beside the other, which would replace its modules."""

    def version(name):
        if name == engine:
            return '0.10.7'
        if name.startswith(('onedl-', 'mm')):
            raise importlib.metadata.PackageNotFoundError
        return importlib.metadata.version(name)

    monkeypatch.setattr(distributions, 'version', version)
    for module, name in zip(MODULES, FAMILIES[engine], strict=True):
        advice = distributions.install_command(module)
        assert name in advice and ('onedl' in advice) == (engine != 'mmengine')
    hide(monkeypatch, 'mmseg')
    text = complaint('mmseg')
    assert 'MMSegmentation, which is not installed' in text and FAMILIES[engine][2] in text
    assert ('onedl' in text) == (engine != 'mmengine')


def test_a_numpy_that_torch_was_not_built_for_is_named_with_what_to_install(monkeypatch):
    def numpy(tensor):
        raise RuntimeError('Numpy is not available')

    monkeypatch.setattr(torch.Tensor, 'numpy', numpy)
    text = complaint('mmdet')
    assert 'does not fit torch' in text and "`pip install 'numpy<2' 'opencv-python" in text


def test_a_toolbox_that_asserts_is_named_with_the_cause(broken):
    broken(mmdet="raise AssertionError('MMCV==9 is used but incompatible')")
    text = complaint('mmdet')
    assert 'MMDetection cannot be imported (AssertionError: MMCV==9 is used' in text


def test_mmcv_without_its_operators_is_named(broken):
    broken(mmcv='')
    text = complaint('mmdet')
    assert 'without its compiled operators' in text
    assert distributions.install_command('mmcv') in text


def test_mmcv_of_another_torch_is_named(broken, tmp_path):
    broken(mmcv='')
    (tmp_path / 'mmcv' / '_ext.py').write_text("raise ImportError('undefined symbol: _ZN2at')")
    text = complaint('mmdet')
    assert 'do not fit torch' in text and 'undefined symbol: _ZN2at' in text


def test_a_torchvision_that_cannot_be_imported_is_named(broken):
    broken(torchvision="raise RuntimeError('operator torchvision::nms does not exist')")
    text = complaint('mmdet')
    assert 'operator torchvision::nms does not exist' in text
    assert '`pip uninstall torchvision`' in text
    assert 'uninstall' not in complaint('mmpretrain')  # classification needs it


@pytest.mark.parametrize(
    ('torch_version', 'command'),
    [
        ('2.13.0+cpu', ' --index-url https://download.pytorch.org/whl/cpu`'),
        ('2.14.1+cu130', ' --index-url https://download.pytorch.org/whl/cu130`'),
        ('2.1.0', '`'),
        ('2.15.0+git0a1b2c3', '`'),
    ],
)
def test_the_torchvision_to_install_is_that_of_torchs_version_and_build(
    monkeypatch, torch_version, command
):
    monkeypatch.setattr(torch, '__version__', torch_version)
    expected = f'`pip install torch=={torch_version.split("+")[0]} torchvision{command}'
    assert torchvision_command() == expected


@pytest.mark.parametrize(
    ('absent', 'words'),
    [
        ('mmpretrain', distributions.install_command('mmpretrain')),
        ('torchvision', 'MMPreTrain needs torchvision, which is not installed'),
    ],
)
def test_what_classification_lacks_is_named(monkeypatch, absent, words):
    pytest.importorskip(absent)  # what else is missing would be named first
    hide(monkeypatch, absent)
    assert words in complaint('mmpretrain')


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_a_broken_mmpretrain_is_named_where_it_takes_another_toolbox_down(broken, scope):
    broken(mmpretrain="raise AssertionError('MMCV==9 is used but incompatible')")
    text = complaint(scope)
    assert 'imports MMPreTrain' in text and 'AssertionError: MMCV==9 is used' in text
    assert f'`pip uninstall {distributions.distribution_of("mmpretrain")[0]}`' in text


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_an_mmpretrain_that_lacks_a_package_is_no_matter_to_another_toolbox(broken, scope):
    broken(mmpretrain='import no_such_package')
    check_environment(scope)
