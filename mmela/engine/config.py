"""Reading a config for a run."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.device import get_device
from mmengine.hub import get_config

import mmela  # noqa: F401  (registers the packages of `mmela::` and `mmseg::` configs)
from mmela.engine.data.file_faults import encoding_fault
from mmela.engine.dataset_configs import SPLITS
from mmela.engine.log import log_once
from mmela.engine.options import apply_options, parse_options, warn_of_unused_data_root
from mmela.engine.toolboxes import TOOLBOXES, check_installed, is_installed, scope_of
from mmela.errors import UserError


def load_config(
    path: str | os.PathLike[str],
    cfg_options: Mapping[str, Any] | Sequence[str] | None = None,
    work_dir: str | None = None,
    launcher: str = 'none',
) -> Config:
    """Reads a config and applies the settings of the command line.

    Args:
        path: A file, or a name such as ``mmdet::yolox/yolox_nano_8xb8-300e_coco.py``.
        cfg_options: Settings to override, as a dict with dotted keys or as ``key=value`` words.
        work_dir: Where results go. Default: the config's own, or ``work_dirs/<file stem>``.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Returns:
        The config, with ``work_dir`` and ``launcher`` set.

    Raises:
        UserError: If the config cannot be found or read, an option does not fit it, or the work
            dir cannot be created.
    """
    path = os.fspath(path)
    cfg = _read(path)
    _drop_own_scope(cfg._cfg_dict)
    if not isinstance(cfg_options, Mapping):
        cfg_options = parse_options(cfg_options)
    apply_options(cfg, cfg_options)
    if 'data_root' not in cfg_options:
        warn_of_unused_data_root(cfg)
    cfg.launcher = launcher
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(path).stem)
    _check_work_dir(cfg.work_dir)
    _complete_dataloaders(cfg)
    return cfg


def _read(path: str) -> Config:
    if '::' in path:
        package = path.split('::')[0]
        if package in TOOLBOXES:
            check_installed(package)
        if not is_installed(package):
            raise UserError(f"the config {path}: the package '{package}' is not installed.")
    elif os.path.isdir(path):
        raise UserError(f'expected a config file, got the folder {path}; name a file in it.')
    elif not os.path.isfile(path):
        raise UserError(f'there is no config file {path}{_nearest_config(path)}')
    elif path.endswith(('.pth', '.pt')):
        raise UserError(
            f'expected a config file, got the checkpoint {path}: the config comes first.'
        )
    try:
        cfg = get_config(path) if '::' in path else Config.fromfile(path)
        _name_types_of(cfg)
        return cfg
    # A config is the user's code and may raise anything.
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
    """Raises if the package of a base that MMEngine did not find is a toolbox."""
    for scope in TOOLBOXES:
        # MMEngine's message begins with the distribution that it takes the package for.
        if message.split(' ')[0] in (scope, MODULE2PACKAGE.get(scope)):
            check_installed(scope)


def _check_work_dir(work_dir: str) -> None:
    path = Path(work_dir)
    for folder in (path, *path.parents):
        if folder.is_dir():
            return
        if folder.exists():
            raise UserError(
                f'the work dir {work_dir} cannot be created: {folder} is a file; give another '
                '--work-dir.'
            )


def _nearest_config(path: str) -> str:
    """A suggestion of the config with the nearest name, beside the path or below ``configs/``."""
    beside, below = Path(path).parent, Path('configs')
    files = sorted(beside.glob('*.py')) if beside.is_dir() else []
    files += sorted(below.rglob('*.py')) if below.is_dir() else []
    by_name = {file.name: str(file) for file in reversed(files)}
    name = f'{Path(path).name.removesuffix(".py")}.py'
    near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.75)
    return f"; did you mean '{by_name[near[0]]}'?" if near else '.'


def _drop_own_scope(node: Any) -> None:
    """Removes ``_scope_='mmela'``, which MMEngine adds to what ``mmela::`` configs define.

    With it MMEngine would look for data sets in mmela's registries, but these configs name them
    as the toolbox does. Without it the types resolve in the default scope.
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
    """Adds what MMPreTrain's scripts add to a dataloader, and lets ``num_workers=0`` be enough."""
    is_classification = scope_of(cfg) == 'mmpretrain'
    for key in (f'{split}_dataloader' for split in SPLITS):
        loader = cfg.get(key)
        if not isinstance(loader, dict):
            continue
        if is_classification:
            loader.setdefault('collate_fn', dict(type='default_collate'))
            loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
            loader.setdefault('pin_memory', get_device() != 'cpu')
        # PyTorch refuses persistent workers where there are none.
        if loader.get('num_workers') == 0 and loader.get('persistent_workers'):
            loader['persistent_workers'] = False
            log_once(f'{key}.persistent_workers is set to False, as num_workers is 0.')


def _name_types_of(cfg: Config) -> None:
    """Replaces every ``type`` that is a class, as in pure Python configs, by its registered name.

    What is registered nowhere stays a class, which MMEngine builds as well. ``default_scope``,
    which such configs need not have, becomes that of the model.

    Args:
        cfg: The config; changed in place. A text config stays as it is.

    Raises:
        ImportError: If a module or name that the config imports does not exist.
    """
    for value in cfg.values():  # the values, and not the config: those of MMEngine are lazy
        _name_types(value)
    scope = str((cfg.get('model') or {}).get('type', '')).partition('.')[0]
    if cfg.get('default_scope') is None and scope in ('mmdet', 'mmseg', 'mmpretrain'):
        cfg.default_scope = scope


def _name_types(node: Any) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'type' and callable(value):
                node[key] = _registered_name(value) or value
            else:
                _name_types(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            _name_types(item)


def _registered_name(cls: Any) -> str | None:
    roots = [
        root
        for root in vars(mmengine_registry).values()
        if isinstance(root, mmengine_registry.Registry)
    ]
    for registry in [child for root in roots for child in (*root.children.values(), root)]:
        names = [name for name, known in registry.module_dict.items() if known is cls]
        if names:
            own = getattr(cls, '__name__', '')
            name = own if own in names else names[0]
            return name if registry.parent is None else f'{registry.scope}.{name}'
    return None
