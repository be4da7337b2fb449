import sys

import pytest

from mmela.runtime import UserError, check_environment


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


def complaint(scope):
    with pytest.raises(UserError) as error:
        check_environment(scope)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_what_is_installed_here_is_fine():
    check_environment('mmdet')


def test_a_toolbox_that_is_not_installed_is_named_with_both_its_distributions(monkeypatch):
    from mmela.runtime import environment

    there = environment.find_spec
    monkeypatch.setattr(environment, 'find_spec', lambda m: None if m == 'mmseg' else there(m))
    text = complaint('mmseg')
    assert 'MMSegmentation, which is not installed' in text
    assert '`pip install onedl-mmsegmentation`' in text and 'mmsegmentation, the original' in text


def test_a_toolbox_that_asserts_is_a_sentence_with_the_cause(broken):
    broken(mmdet="raise AssertionError('MMCV==9 is used but incompatible')")
    text = complaint('mmdet')
    assert 'MMDetection cannot be imported (AssertionError: MMCV==9 is used' in text


def test_mmcv_without_its_operators_is_a_sentence(broken):
    broken(mmcv='')
    text = complaint('mmdet')
    assert 'without its compiled operators' in text
    assert 'pip install --no-build-isolation onedl-mmcv' in text


def test_mmcv_of_another_torch_is_a_sentence(broken, tmp_path):
    broken(mmcv='')
    (tmp_path / 'mmcv' / '_ext.py').write_text("raise ImportError('undefined symbol: _ZN2at')")
    text = complaint('mmdet')
    assert 'do not fit torch' in text and 'undefined symbol: _ZN2at' in text


def test_a_torchvision_that_cannot_be_imported_is_a_sentence(broken):
    broken(torchvision="raise RuntimeError('operator torchvision::nms does not exist')")
    text = complaint('mmdet')
    assert 'operator torchvision::nms does not exist' in text
    assert '`pip uninstall torchvision`' in text
