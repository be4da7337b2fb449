"""The hook that reports on every checkpoint that MMEngine loads."""

from __future__ import annotations

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from mmela.engine.checks.weights import pretrained_checkpoint, required_weights
from mmela.engine.hooks.load_report import (
    NETWORK,
    LoadReport,
    LoadWatch,
    note_on_preprocessing,
)
from mmela.engine.hooks.unwrapping import unwrap
from mmela.errors import UserError


class LoadReportHook(Hook):
    """Logs what became of the weights that are loaded before training, validation or a test.

    Stops before the first iteration if a checkpoint that was named supplied no weights.

    The hook watches from ``before_run`` until the loop starts. In between the runner initialises
    the model (``init_cfg`` of type Pretrained) and loads ``load_from`` or resumes. At the lowest
    priority its ``before_run`` comes after that of EMAHook, so that copies are not watched.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.reports: list[LoadReport] = []
        self._watches: list[LoadWatch] = []

    def before_run(self, runner: Runner) -> None:
        """Starts the watch."""
        cfg = runner.cfg
        for name, module in unwrap(runner.model).named_modules():
            checkpoint = pretrained_checkpoint(getattr(module, 'init_cfg', None))
            if name == '':
                source = str(cfg.get('load_from') or checkpoint)
                self._watch(module, source + ' (resumed)' * bool(cfg.get('resume')), NETWORK)
            elif checkpoint is not None:
                self._watch(module, checkpoint, name)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compares the preprocessing, after the file was read and before its weights are used."""
        note = note_on_preprocessing(checkpoint.get('meta') or {}, runner.cfg)
        for watch in self._watches:
            if note and watch.module is unwrap(runner.model):
                watch.notes = [note]

    def before_train(self, runner: Runner) -> None:
        """Logs the reports before the first iteration."""
        self._log(runner, training=True)

    def before_val(self, runner: Runner) -> None:
        """Logs the reports before a validation without training."""
        self._log(runner, training=False)

    def before_test(self, runner: Runner) -> None:
        """Logs the reports before the test."""
        self._log(runner, training=False)

    def _watch(self, module: nn.Module, source: str, target: str) -> None:
        self._watches.append(LoadWatch(module, source, target, self.reports.append))

    def _log(self, runner: Runner, training: bool) -> None:
        for watch in self._watches:
            watch.remove()
        reports = self.reports.copy()
        self._watches.clear()
        self.reports.clear()
        for report in reports:
            print_log('\n'.join(report.lines()), logger=runner.logger)
            for warning in report.warnings():
                print_log(warning, logger=runner.logger, level=logging.WARNING)
        for index, report in enumerate(reports):
            # A later load of the whole network, such as on resuming, supplies the weights.
            later = [r for r in reports[index + 1 :] if r.target == NETWORK and not r.is_useless]
            if report.is_useless and not later:
                raise UserError(_message(report, runner, training))


def _message(report: LoadReport, runner: Runner, training: bool) -> str:
    named = [w for w in required_weights(runner.cfg, training) if w.path == report.source]
    # Two parts may take weights from one file.
    named.sort(key=lambda w: not w.key.startswith(f'model.{report.target}.init_cfg.'))
    switch = named[0].switch if named else ''
    prefix = report.prefix
    message = f'no tensor of {report.source} fits {report.target}'
    if prefix:
        message += f", as their names begin with '{prefix}'"
    if prefix and switch.endswith('init_cfg=None'):
        return f'{message}: --cfg-options {switch.removesuffix("=None")}.prefix={prefix}'
    message += '; name a checkpoint of this network'
    return message + (f', or run without one: --cfg-options {switch}.' if switch else '.')
