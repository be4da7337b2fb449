"""Reading a config for a run."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.device import get_device
from mmengine.hub import get_config

import mmela  # noqa: F401  (teaches MMEngine where `mmela::` and `mmseg::` configs lie)
from mmela.engine.checks.dataset.encodings import encoding_fault
from mmela.engine.checks.environment import check_installed
from mmela.engine.lazy_configs import name_types
from mmela.engine.notices import tell
from mmela.engine.options import apply_options, parse_options
from mmela.engine.variables import warn_of_idle_data_root
from mmela.errors import UserError

#: The task of each toolbox, by the default scope of its configs.
TASKS = {'mmdet': 'detection', 'mmseg': 'segmentation', 'mmpretrain': 'classification'}
_DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def load_config(
    path: str | os.PathLike[str],
    cfg_options: Mapping[str, Any] | Sequence[str] | None = None,
    work_dir: str | None = None,
    launcher: str = 'none',
) -> Config:
    """Reads a config and applies what the command line says.

    Args:
        path: A file, or a name such as ``mmdet::yolox/yolox_nano_8xb8-300e_coco.py``.
        cfg_options: Settings to override, as a dict with dotted keys or as ``key=value`` words.
        work_dir: Where results go. Without it: the config's own, or ``work_dirs/<file stem>``.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Returns:
        The config, with ``work_dir`` and ``launcher`` set.

    Raises:
        UserError: If the config cannot be found or read, an option does not fit it, or a file
            stands in the way of the work dir.
    """
    path = os.fspath(path)
    cfg = _read(path)
    _drop_own_scope(cfg._cfg_dict)
    if not isinstance(cfg_options, Mapping):
        cfg_options = parse_options(cfg_options)
    apply_options(cfg, cfg_options)
    if 'data_root' not in cfg_options:
        warn_of_idle_data_root(cfg)
    cfg.launcher = launcher
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(path).stem)
    _check_work_dir(cfg.work_dir)
    if scope_of(cfg) == 'mmpretrain':
        _complete_dataloaders(cfg)
    _drop_persistent_workers(cfg)
    return cfg


def scope_of(cfg: Config) -> str:
    """The toolbox that a config belongs to, by which the tasks are told apart.

    Args:
        cfg: The config.

    Returns:
        Its ``default_scope``: ``'mmdet'``, ``'mmseg'``, ``'mmpretrain'`` or another toolbox's.

    Raises:
        UserError: If the config has none, or no model to run.
    """
    scope = cfg.get('default_scope')
    if scope is None or cfg.get('model') is None:
        missing = 'model' if cfg.get('model') is None else 'default_scope'
        raise UserError(
            f"{cfg.filename or 'the config'} defines no '{missing}': it is a part of a config and "
            'not one that can be run; inherit from it in one that can.'
        )
    return scope


def _read(path: str) -> Config:
    if '::' in path:
        package = path.split('::')[0]
        if package in TASKS:
            check_installed(package)
        if not _is_installed(package):
            raise UserError(
                f"the config {path} lies in the package '{package}', which is not installed."
            )
    elif os.path.isdir(path):
        raise UserError(f'{path} is a folder: name one of the config files in it.')
    elif not os.path.isfile(path):
        raise UserError(f'there is no config file {path}{_nearest_config(path)}')
    elif path.endswith(('.pth', '.pt')):
        raise UserError(f'{path} is a checkpoint: the config comes first on the command line.')
    try:
        cfg = get_config(path) if '::' in path else Config.fromfile(path)
        name_types(cfg)
        return cfg
    # A config is code of the person's: whatever it raises is theirs to mend.
    except Exception as error:
        if isinstance(error, ModuleNotFoundError):
            _check_base_package(str(error))
        fault = '' if '::' in path else encoding_fault(path)
        if fault:
            raise UserError(f'the config {path} {fault}.') from error
        missing = re.search(r"['\"]([^'\"]+\.\w+)['\"]", str(error))
        hint = '.'
        if isinstance(error, FileNotFoundError) and missing:
            hint = _nearest_config(missing[1])
        reason = str(error).strip().rstrip('.') or type(error).__name__
        raise UserError(
            f'the config {path} cannot be read ({type(error).__name__}: {reason}){hint}'
        ) from error


def _check_base_package(message: str) -> None:
    """Names the toolbox that a base lies in, where that is what MMEngine did not find."""
    for scope in TASKS:
        # MMEngine's message begins with the distribution that it takes the package for.
        if message.split(' ')[0] in (scope, MODULE2PACKAGE.get(scope)):
            check_installed(scope)


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # a parent is missing, or it is no name at all
        return False


def _check_work_dir(work_dir: str) -> None:
    path = Path(work_dir)
    for folder in (path, *path.parents):
        if folder.is_dir():
            return
        if folder.exists():
            raise UserError(f'the work dir {work_dir} cannot be made: {folder} is a file.')


def _nearest_config(path: str) -> str:
    """A hint at the config whose name comes nearest, beside the path or below ``configs/``."""
    beside, below = Path(path).parent, Path('configs')
    files = sorted(beside.glob('*.py')) if beside.is_dir() else []
    files += sorted(below.rglob('*.py')) if below.is_dir() else []
    by_name = {file.name: str(file) for file in reversed(files)}
    name = Path(path).name
    near = difflib.get_close_matches(
        name if name.endswith('.py') else f'{name}.py', by_name, n=1, cutoff=0.75
    )
    return f"; did you mean '{by_name[near[0]]}'?" if near else '.'


def _drop_own_scope(node: Any) -> None:
    """Takes out ``_scope_='mmela'``, which MMEngine stamps on what ``mmela::`` configs define.

    It would look there for the types of a dataset, though these configs name them as the toolbox
    does. Without the stamp they resolve in the default scope, as in the config itself.
    """
    if isinstance(node, dict):
        if node.get('_scope_') == 'mmela':
            del node['_scope_']
        for value in node.values():
            _drop_own_scope(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _drop_own_scope(value)


def _complete_dataloaders(cfg: Config) -> None:
    """Adds what MMPreTrain's own scripts add to the dataloaders of its configs."""
    for name in _DATALOADERS:
        loader = cfg.get(name)
        if isinstance(loader, dict):
            loader.setdefault('collate_fn', dict(type='default_collate'))
            loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
            loader.setdefault('pin_memory', get_device() != 'cpu')


def _drop_persistent_workers(cfg: Config) -> None:
    """Lets ``num_workers=0`` stand alone: PyTorch refuses it beside ``persistent_workers``."""
    for name in _DATALOADERS:
        loader = cfg.get(name)
        if isinstance(loader, dict) and loader.get('num_workers') == 0:
            if loader.get('persistent_workers'):
                loader['persistent_workers'] = False
                tell(
                    f'{name}.persistent_workers is switched off: there are no workers.',
                )
