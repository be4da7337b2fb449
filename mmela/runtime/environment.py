"""Looks whether the packages of a run can be imported, and says which one to mend, and how."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from mmela.runtime.errors import UserError

#: Import name of each toolbox: its name and what pip installs (maintained, original).
_TOOLBOXES = {
    'mmdet': ('MMDetection', 'onedl-mmdetection', 'mmdet'),
    'mmseg': ('MMSegmentation', 'onedl-mmsegmentation', 'mmsegmentation'),
    'mmpretrain': ('MMPreTrain', 'onedl-mmpretrain', 'mmpretrain'),
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
    _check_torchvision()
    _check_mmcv()
    title, maintained, original = _TOOLBOXES.get(scope, (scope, scope, scope))
    if find_spec(scope) is None:
        raise UserError(
            f'the config is for {title}, which is not installed: `pip install {maintained}`'
            + (f' (or {original}, the original).' if original != maintained else '.')
        )
    _import(scope, f'{title} cannot be imported', f'`pip install -U {maintained}`')


def _check_torchvision() -> None:
    """MMEngine's report on the environment imports torchvision wherever it is installed."""
    if find_spec('torchvision') is None:
        return
    _import(
        'torchvision',
        f'torchvision {_version("torchvision")} cannot be imported beside torch '
        f'{_version("torch")}',
        'install the torchvision that belongs to your torch, or `pip uninstall torchvision`: '
        'detection and segmentation do without it',
    )


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
        cause = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip('.')
        raise UserError(f'{complaint} ({type(error).__name__}: {cause}); {remedy}.') from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return '(unknown)'
