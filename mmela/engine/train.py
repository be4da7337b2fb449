"""Training as tools/train.py does it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mmengine.config import Config, ConfigDict

from mmela.engine.checks.data import check_data
from mmela.engine.checks.dataset import check_dataset_content
from mmela.engine.checks.environment import check_environment
from mmela.engine.checks.weights import check_weights
from mmela.engine.config import TASKS, scope_of
from mmela.engine.explain import explain_config_errors
from mmela.engine.notices import tell
from mmela.engine.run_errors import explain_run_errors
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
    splits = ('train', 'val') if cfg.get('val_dataloader') else ('train',)
    if data_check:
        check_data(cfg, splits)
    check_environment(scope_of(cfg))
    if data_check:
        check_dataset_content(cfg, splits)
    check_precision(cfg)
    from mmela.engine.checks.plugins import check_plugins

    check_plugins(cfg)
    check_weights(cfg, training=True)
    from mmela.engine.runner import build_runner, connected_processes

    with connected_processes(), explain_config_errors(), explain_run_errors():
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


def use_resume(cfg: Config, resume: str) -> None:
    """Goes on with a run that was interrupted (``--resume``).

    Args:
        cfg: The config; changed in place. Where there is nothing to resume, it stays as it was,
            ``load_from`` included.
        resume: A checkpoint, or ``'auto'`` for the latest in the work dir.
    """
    if resume == 'auto':
        latest = _latest_checkpoint(cfg.work_dir)
        if latest is None:
            tell(f'--resume: nothing in {cfg.work_dir} yet, a new run begins.')
            return
        resume = latest
    cfg.resume = True
    cfg.load_from = resume


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
