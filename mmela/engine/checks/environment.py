"""Looks whether the packages of a run can be imported, and says which one to mend, and how."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple

from mmela.errors import UserError, cause_of, torchvision_command


class _Toolbox(NamedTuple):
    title: str
    install: str  # what pip installs: the maintained distribution
    original: str
    upgrade: str


_TOOLBOXES = {
    'mmdet': _Toolbox('MMDetection', 'onedl-mmdetection', 'mmdet', 'onedl-mmdetection'),
    'mmseg': _Toolbox(
        'MMSegmentation', 'onedl-mmsegmentation', 'mmsegmentation', 'onedl-mmsegmentation'
    ),
    'mmpretrain': _Toolbox('MMPreTrain', "'mmela[cls]'", 'mmpretrain', 'onedl-mmpretrain'),
}
_MMCV_INSTALL = (
    '`pip install setuptools wheel ninja packaging psutil` and then '
    '`pip install --no-build-isolation onedl-mmcv`'
)


def check_environment(scope: str) -> None:
    """Imports what a run of one toolbox needs.

    Args:
        scope: Default scope of the config, such as ``'mmdet'``.

    Raises:
        UserError: If a package is missing or broken. The message names it, the cause and the
            command that mends it.
    """
    classification = scope == 'mmpretrain'
    _check_torchvision(needed=classification)
    _check_mmcv()
    check_installed(scope)
    toolbox = _toolbox(scope)
    if not classification:
        _check_mmpretrain_beside(toolbox.title)
    _import(scope, f'{toolbox.title} cannot be imported', f'`pip install -U {toolbox.upgrade}`')


def check_installed(scope: str) -> None:
    """Looks whether a toolbox is installed, without importing it.

    Args:
        scope: Default scope of the config, which is the toolbox's module too.

    Raises:
        UserError: If it is not. The message says what pip installs.
    """
    if find_spec(scope) is None:
        toolbox = _toolbox(scope)
        also = f' (or {toolbox.original}, the original)' if toolbox.original else ''
        raise UserError(
            f'the config is for {toolbox.title}, which is not installed: '
            f'`pip install {toolbox.install}`{also}.'
        )


def _toolbox(scope: str) -> _Toolbox:
    return _TOOLBOXES.get(scope, _Toolbox(scope, scope, '', scope))


def _check_torchvision(*, needed: bool) -> None:
    """MMEngine's report on the environment imports torchvision wherever it is installed."""
    if find_spec('torchvision') is None:
        if needed:
            raise UserError(
                'MMPreTrain needs torchvision, which is not installed: install the one that '
                f'belongs to your torch: {torchvision_command()}.'
            )
        return
    remedy = f'install the torchvision that belongs to your torch: {torchvision_command()}'
    if not needed:
        remedy += ', or `pip uninstall torchvision`: detection and segmentation do without it'
    _import(
        'torchvision',
        f'torchvision {_version("torchvision")} cannot be imported beside torch '
        f'{_version("torch")}',
        remedy,
    )


def _check_mmpretrain_beside(title: str) -> None:
    """The other toolboxes import MMPreTrain where it is installed, and break with a broken one."""
    if find_spec('mmpretrain') is None:
        return
    try:
        import_module('mmpretrain')
    except ImportError:
        return  # they do without it then
    except Exception as error:
        raise UserError(
            f'{title} imports MMPreTrain where it is installed, and here that fails '
            f'({cause_of(error)}); mend it with `pip install -U onedl-mmpretrain`, or '
            f'`pip uninstall onedl-mmpretrain mmpretrain`: {title} does without it.'
        ) from error


def _check_mmcv() -> None:
    if find_spec('mmcv') is None:
        raise UserError(f'MMCV is not installed: {_MMCV_INSTALL}.')
    _import('mmcv', 'MMCV cannot be imported', _MMCV_INSTALL)
    if find_spec('mmcv._ext') is None:
        raise UserError(
            'MMCV was installed without its compiled operators (mmcv-lite, or a build that found '
            f'no torch): `pip uninstall mmcv mmcv-lite onedl-mmcv`, then {_MMCV_INSTALL}.'
        )
    _import(
        'mmcv._ext',
        f"MMCV's compiled operators do not fit torch {_version('torch')}",
        f'build them anew: `pip uninstall mmcv onedl-mmcv`, then {_MMCV_INSTALL}',
    )


def _import(module: str, complaint: str, remedy: str) -> None:
    try:
        import_module(module)
    # A broken installation raises anything: an undefined symbol, an assertion on versions, ...
    except Exception as error:
        raise UserError(f'{complaint} ({cause_of(error)}); {remedy}.') from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return '(unknown)'
