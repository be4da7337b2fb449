"""Training as tools/train.py does it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mmengine.config import Config, ConfigDict

from mmela.engine.checkpoints import checkpoints_as_data
from mmela.engine.checks.data import check_data
from mmela.engine.checks.environment import check_environment
from mmela.engine.checks.weights import check_weights
from mmela.engine.config import TASKS, scope_of
from mmela.engine.explain import explain_broken_images, explain_config_errors
from mmela.engine.notices import tell
from mmela.engine.resume import use_resume, warn_of_occupied_work_dir
from mmela.engine.saving import check_work_dir, explain_failed_writes
from mmela.errors import UserError

if TYPE_CHECKING:
    from mmengine.runner import Runner


def train(cfg: Config, *, data_check: bool = True) -> Runner:
    """Trains what a config describes.

    Args:
        cfg: A config of :func:`load_config`.
        data_check: Whether to look for the data first.

    Returns:
        The runner after training.

    Raises:
        UserError: If something that the person can mend stands in the way.
    """
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        if cfg.get(key) is None:
            raise UserError(f"the config has no '{key}': there is no way to train with it.")
    check_work_dir(cfg.work_dir)
    if cfg.get('resume') and not cfg.get('load_from'):
        use_resume(cfg, 'auto')
    warn_of_occupied_work_dir(cfg)
    if data_check:
        check_data(cfg, ('train', 'val') if cfg.get('val_dataloader') else ('train',))
    check_environment(scope_of(cfg))
    check_precision(cfg)
    from mmela.engine.checks.plugins import check_plugins

    check_plugins(cfg)
    from mmela.engine.runner import build_runner, connected_processes

    with (
        connected_processes(),
        explain_config_errors(),
        explain_broken_images(),
        explain_failed_writes(cfg.work_dir),
        checkpoints_as_data(cfg.get('trust_checkpoint', False)),
    ):
        check_weights(cfg, training=True)
        runner = build_runner(cfg)
        runner.train()
    latest = _latest_checkpoint(cfg.work_dir)
    if latest is not None:
        config = _shortest(cfg.filename) if cfg.filename else 'CONFIG'
        tell(f'trained; to test it: python tools/test.py {config} {_shortest(latest)}')
    return runner


def use_amp(cfg: Config) -> None:
    """Switches to automatic mixed precision (``--amp``).

    Args:
        cfg: The config; changed in place.

    Raises:
        UserError: If its optimizer wrapper is a special one.
    """
    wrapper = cfg.get('optim_wrapper') or ConfigDict()
    kind = wrapper.get('type', 'OptimWrapper')
    if kind == 'AmpOptimWrapper':
        tell('--amp: the config trains in mixed precision already.')
    elif kind == 'OptimWrapper':
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
    else:
        raise UserError(f"--amp takes the place of 'OptimWrapper', and the config has '{kind}'.")


def check_precision(cfg: Config) -> None:
    """Checks that the machine can train in mixed precision where the config wants to.

    Args:
        cfg: The config.

    Raises:
        UserError: If it wants to and there is no GPU.
    """
    from mmengine.device import get_device

    wants_amp = (cfg.get('optim_wrapper') or {}).get('type') == 'AmpOptimWrapper'
    if wants_amp and get_device() == 'cpu':
        raise UserError(
            'mixed precision (--amp, AmpOptimWrapper) needs a GPU and there is none here; leave '
            'out --amp, or --cfg-options optim_wrapper.type=OptimWrapper.'
        )


def use_auto_scale_lr(cfg: Config) -> None:
    """Scales the learning rate by the real batch size (``--auto-scale-lr``).

    Args:
        cfg: The config; changed in place.

    Raises:
        UserError: If it does not say for which batch size its learning rate was chosen.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        task = TASKS.get(scope_of(cfg), 'these')
        raise UserError(
            '--auto-scale-lr needs the batch size that the learning rate was chosen for, and this '
            f'config has none, as most {task} configs; add '
            '--cfg-options auto_scale_lr.base_batch_size=N.'
        )
    cfg.auto_scale_lr.enable = True


def _shortest(path: str) -> str:
    return min(path, os.path.relpath(path), key=len)


def _latest_checkpoint(work_dir: str) -> str | None:
    """The checkpoint that MMEngine noted last, also where the folder was moved since."""
    note = os.path.join(work_dir, 'last_checkpoint')
    if not os.path.isfile(note):
        return None
    with open(note, encoding='utf-8') as file:
        path = file.read().strip()
    moved = os.path.join(work_dir, os.path.basename(path))
    return moved if os.path.isfile(moved) and not os.path.isfile(path) else path
