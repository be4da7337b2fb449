"""Training, as tools/train.py does it."""

from __future__ import annotations

import os
import shlex

from mmengine.config import Config
from mmengine.runner import Runner

from mmela.engine.checkpoints.reading import checkpoints_as_data
from mmela.engine.checkpoints.resume import latest_checkpoint
from mmela.engine.checkpoints.saving import explain_failed_writes
from mmela.engine.checks import run_checks
from mmela.engine.hooks.signals import end_on_signals
from mmela.engine.log import log_once
from mmela.engine.runner import build_runner, disconnect_at_end
from mmela.errors import explain_errors


def train(cfg: Config, *, data_check: bool = True) -> Runner:
    """Trains the network of a config.

    Args:
        cfg: A config of :func:`mmela.engine.load_config`.
        data_check: Whether to run the checks that look at the data.

    Returns:
        The runner after training.

    Raises:
        UserError: If one of :data:`mmela.engine.checks.CHECKS` fails, or the network or its data
            cannot be built from the config.
    """
    splits = ('train', 'val') if cfg.get('val_dataloader') else ('train',)
    with checkpoints_as_data(cfg.get('trust_checkpoint', False)):
        run_checks(cfg, splits, data_check)
        with (
            disconnect_at_end(),
            explain_errors(),
            explain_failed_writes(cfg.work_dir),
        ):
            runner = build_runner(cfg)
            with end_on_signals(runner):
                runner.train()
    checkpoint = latest_checkpoint(cfg.work_dir)
    if checkpoint is not None:
        config = shlex.quote(_shortest(cfg.filename)) if cfg.filename else 'CONFIG'
        path = shlex.quote(_shortest(checkpoint))
        log_once(f'trained; to test it: python tools/test.py {config} {path}')
    return runner


def _shortest(path: str) -> str:
    return min(path, os.path.relpath(path), key=len)
