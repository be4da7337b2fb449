"""Testing, as tools/test.py does it."""

from __future__ import annotations

import os
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from mmela.engine.checkpoints.reading import checkpoints_as_data
from mmela.engine.checkpoints.saving import explain_failed_writes
from mmela.engine.checks import run_checks
from mmela.engine.metrics import by_class, print_metrics, write_metrics
from mmela.engine.runner import build_runner, disconnect_at_end
from mmela.errors import explain_errors


def test(cfg: Config, checkpoint: str, *, data_check: bool = True) -> dict[str, Any]:
    """Tests a checkpoint on the test set of a config.

    Prints the metrics as a table and writes them to ``metrics.json`` in the work dir.

    Args:
        cfg: A config of :func:`mmela.engine.load_config`.
        checkpoint: A file or an address.
        data_check: Whether to run the checks that look at the data.

    Returns:
        The metrics by name.

    Raises:
        UserError: If one of :data:`mmela.engine.checks.CHECKS` fails, or the network or its data
            cannot be built from the config.
    """
    cfg.load_from = checkpoint
    cfg.resume = False
    with checkpoints_as_data(cfg.get('trust_checkpoint', False)):
        run_checks(cfg, ('test',), data_check)
        with (
            disconnect_at_end(),
            explain_errors(),
            explain_failed_writes(cfg.work_dir),
        ):
            runner = build_runner(cfg)
            metrics = runner.test()
            classes = getattr(runner.test_dataloader.dataset, 'metainfo', {}).get('classes') or ()
            metrics = by_class(metrics, classes)
            is_main = is_main_process()
    if is_main:
        if metrics:
            print_metrics(metrics, os.path.basename(checkpoint))
        else:
            print('no metrics: the evaluator found nothing to evaluate, such as no box at all.')
        with explain_failed_writes(cfg.work_dir):
            print(f'written to {write_metrics(metrics, cfg.work_dir)}')
    return metrics
