"""Checks that the packages of a run can be imported; the message says what to reinstall."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import numpy as np
import torch
from mmengine.config import Config

from mmela.distributions import (
    distribution_of,
    install_command,
    installed_version,
    older_numpy_command,
)
from mmela.engine.toolboxes import check_installed, is_installed, scope_of, toolbox_of
from mmela.errors import UserError, cause_of, torchvision_command


def check_packages(cfg: Config, splits: Sequence[str]) -> None:
    """Imports what a run of a config needs.

    Raises:
        UserError: As :func:`check_environment`.
    """
    check_environment(scope_of(cfg))


def check_environment(scope: str) -> None:
    """Imports what a run of one toolbox needs.

    Raises:
        UserError: If a package is missing or broken. The message has the cause and the command
            that fixes it.
    """
    toolbox = toolbox_of(scope)
    check_numpy()
    _check_torchvision(is_needed=scope == 'mmpretrain')
    _check_mmcv()
    check_installed(scope)
    if scope != 'mmpretrain':
        _check_mmpretrain_beside(toolbox.title)
    _import(
        scope,
        f'{toolbox.title} cannot be imported',
        f'reinstall it: {install_command(scope)}',
    )


def check_numpy() -> None:
    """Checks that torch takes the NumPy that is installed.

    Raises:
        UserError: If it does not. The message has the command that installs an older NumPy.
    """
    try:
        torch.zeros(1).numpy()
    except RuntimeError as error:
        raise UserError(
            f'NumPy {np.__version__} does not fit torch {torch.__version__} ({error}): '
            f'{older_numpy_command()}.'
        ) from error


def _check_torchvision(is_needed: bool) -> None:
    """MMEngine's environment report imports torchvision wherever it is installed."""
    fix = f'install the one that belongs to your torch: {torchvision_command()}'
    if not is_installed('torchvision'):
        if is_needed:
            raise UserError(f'MMPreTrain needs torchvision, which is not installed; {fix}.')
        return
    if not is_needed:
        fix += ', or `pip uninstall torchvision`: detection and segmentation do not need it'
    _import(
        'torchvision',
        f'torchvision {installed_version("torchvision")} cannot be imported with torch '
        f'{torch.__version__}',
        fix,
    )


def _check_mmcv() -> None:
    name, install = distribution_of('mmcv')[0], install_command('mmcv')
    if not is_installed('mmcv'):
        raise UserError(f'MMCV is not installed: {install}.')
    _import('mmcv', 'MMCV cannot be imported', f'reinstall it: {install}')
    if not is_installed('mmcv._ext'):
        raise UserError(
            'MMCV was installed without its compiled operators (mmcv-lite, or a build without '
            f'torch): `pip uninstall mmcv-lite {name}`, then {install}.'
        )
    _import(
        'mmcv._ext',
        f"MMCV's compiled operators do not fit torch {torch.__version__}",
        f'rebuild them: `pip uninstall {name}`, then {install}',
    )


def _check_mmpretrain_beside(title: str) -> None:
    """The other toolboxes import MMPreTrain where it is installed, and fail if it is broken."""
    try:
        if is_installed('mmpretrain'):
            import_module('mmpretrain')
    except ImportError:
        return  # the toolboxes catch it
    except Exception as error:
        raise UserError(
            f'{title} imports MMPreTrain where it is installed, and that fails here '
            f'({cause_of(error)}); reinstall it: {install_command("mmpretrain")}, or remove it: '
            f'`pip uninstall {distribution_of("mmpretrain")[0]}`: {title} does not need it.'
        ) from error


def _import(module: str, problem: str, fix: str) -> None:
    try:
        import_module(module)
    # A broken installation raises anything: an undefined symbol, an assertion on versions, ...
    except Exception as error:
        raise UserError(f'{problem} ({cause_of(error)}); {fix}.') from error
