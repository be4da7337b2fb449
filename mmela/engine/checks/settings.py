"""Checks settings that a run cannot do without, or that this machine does not support."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config
from mmengine.device import get_device

from mmela.errors import UserError

_REQUIRED_KEYS = {
    'training': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    'a test': ('test_dataloader', 'test_evaluator'),
}


def check_required_keys(cfg: Config, splits: Sequence[str]) -> None:
    """Checks that the config has what a training or a test needs.

    Raises:
        UserError: If a key is missing.
    """
    run = 'training' if 'train' in splits else 'a test'
    for key in _REQUIRED_KEYS[run]:
        if cfg.get(key) is None:
            raise UserError(f"the config has no '{key}', which {run} needs.")


def check_precision(cfg: Config, splits: Sequence[str]) -> None:
    """Checks that the machine can train in mixed precision, if the config requests it.

    Raises:
        UserError: If it requests it and there is no GPU.
    """
    wrapper = (cfg.get('optim_wrapper') or {}).get('type')
    if 'train' in splits and wrapper == 'AmpOptimWrapper' and get_device() == 'cpu':
        raise UserError(
            'mixed precision (--amp, AmpOptimWrapper) needs a GPU, and there is none here; leave '
            'out --amp, or --cfg-options optim_wrapper.type=OptimWrapper.'
        )
