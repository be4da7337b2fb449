"""Checks that a run can keep what it computes, and does not overwrite another."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config

from mmela.engine.checkpoints.resume import use_resume, warn_of_occupied_work_dir
from mmela.engine.checkpoints.saving import make_work_dir


def check_work_dir(cfg: Config, splits: Sequence[str]) -> None:
    """Creates the work dir, and looks for checkpoints in it before a training.

    ``resume=True`` in a config without ``load_from`` is answered as ``--resume`` is. A new run that
    would overwrite checkpoints of another triggers a warning.

    Raises:
        UserError: If the folder cannot be written to, or none of its checkpoints is whole.
    """
    make_work_dir(cfg.work_dir)
    if 'train' in splits:
        if cfg.get('resume') and not cfg.get('load_from'):
            use_resume(cfg, 'auto')
        warn_of_occupied_work_dir(cfg)
