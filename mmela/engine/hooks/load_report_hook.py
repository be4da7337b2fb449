"""The hook that prints a report wherever MMEngine loads weights."""

from __future__ import annotations

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmela.engine.checks.weights import required_weights
from mmela.engine.hooks.load_report import NETWORK, LoadReport
from mmela.engine.hooks.load_watch import LoadWatch
from mmela.engine.hooks.preprocessing import note_on_pictures
from mmela.errors import UserError


class LoadReportHook(Hook):
    """Reports on weights that are loaded before training, validation or a test starts.

    Weights of which nothing was loaded end the run before its first iteration: who named them
    wants to start from them.

    It watches from ``before_run`` until the loop starts: in between, the runner initialises the
    model (``init_cfg`` of type Pretrained) and loads ``load_from`` or resumes. At the lowest
    priority its ``before_run`` comes after that of EMA's hook, so that copies are not watched.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.reports: list[LoadReport] = []
        self._watches: list[LoadWatch] = []

    def before_run(self, runner: Runner) -> None:
        """Starts the watch.

        Args:
            runner: The runner.
        """
        cfg = runner.cfg
        for name, module in unwrap(runner.model).named_modules():
            checkpoint = pretrained_checkpoint(module)
            if name == '':
                source = str(cfg.get('load_from') or checkpoint)
                self._watch(module, source + ' (resumed)' * bool(cfg.get('resume')), NETWORK)
            elif checkpoint is not None:
                self._watch(module, checkpoint, name)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compares pictures: the runner has read the file and loads the weights next."""
        note = note_on_pictures(checkpoint.get('meta') or {}, runner.cfg)
        for watch in self._watches:
            if note and watch.module is unwrap(runner.model):
                watch.notes = [note]

    def before_train(self, runner: Runner) -> None:
        """Prints the reports before the first iteration."""
        self._print(runner, training=True)

    def before_val(self, runner: Runner) -> None:
        """Prints the reports of a validation of its own."""
        self._print(runner)

    def before_test(self, runner: Runner) -> None:
        """Prints the reports before the test."""
        self._print(runner)

    def _watch(self, module: nn.Module, source: str, target: str) -> None:
        self._watches.append(LoadWatch(module, source, target, self.reports.append))

    def _print(self, runner: Runner, training: bool = False) -> None:
        for watch in self._watches:
            watch.remove()
        self._watches.clear()
        for report in self.reports:
            print_log('\n'.join(report.lines()), logger=runner.logger)
            for warning in report.warnings():
                print_log(warning, logger=runner.logger, level=logging.WARNING)
        reports = self.reports.copy()
        self.reports.clear()
        for index, report in enumerate(reports):
            # A load of the whole network after it, such as that of a resumed run, makes up for it.
            later = [r for r in reports[index + 1 :] if r.target == NETWORK and not r.is_futile]
            if report.is_futile and not later:
                raise UserError(_way_out(report, runner, training))


def _way_out(report: LoadReport, runner: Runner, training: bool) -> str:
    wanted = [w for w in required_weights(runner.cfg, training) if w.path == report.source]
    # Two parts may have weights from one file.
    wanted.sort(key=lambda w: not w.key.startswith(f'model.{report.target}.init_cfg.'))
    switch = wanted[0].switch if wanted else ''
    sentence = f'{report.source} gives {report.target} no weights: none of its tensors fits'
    prefix = report.prefix
    if prefix and switch.endswith('init_cfg=None'):
        option = switch.replace('init_cfg=None', f'init_cfg.prefix={prefix}')
        return f"{sentence}, since their names begin with '{prefix}': --cfg-options {option}"
    if prefix:
        sentence += f", since their names begin with '{prefix}'"
    sentence += '; give the weights of this network'
    return sentence + (f', or run without any: --cfg-options {switch}.' if switch else '.')


def unwrap(model: nn.Module) -> nn.Module:
    """The network inside wrappers for several processes or test-time augmentation.

    Args:
        model: A model as a runner holds it.

    Returns:
        The network whose keys a checkpoint has.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def pretrained_checkpoint(module: nn.Module) -> str | None:
    """Where ``init_cfg`` says that the weights of a module come from.

    Args:
        module: Any module.

    Returns:
        The path or address, ``None`` where there is none.
    """
    entries = getattr(module, 'init_cfg', None)
    for entry in entries if isinstance(entries, (list, tuple)) else [entries]:
        if isinstance(entry, dict) and entry.get('type') == 'Pretrained':
            return entry.get('checkpoint')
    return None
