"""Looks at every file of the data sets of a config, by the checks that a run makes on a sample."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mmengine.config import Config

from mmela.engine.checks import check_data
from mmela.engine.checks.dataset import findings_of
from mmela.engine.checks.dataset.content import Record, Task, look_at
from mmela.engine.checks.dataset.findings import Finding
from mmela.engine.checks.environment import check_packages
from mmela.engine.dataset_configs import SPLITS

#: Samples that a worker is handed at a time.
_CHUNK = 16


@dataclass
class Verdict:
    """What was looked at and what was found."""

    config: str
    seen: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def faults(self) -> list[Finding]:
        """The findings that would stop a run."""
        return [finding for finding in self.findings if finding.is_fault]

    def __str__(self) -> str:
        lines = [f'looked at {line}' for line in self.seen]
        lines += [f'{"FAULT" if f.is_fault else "warning"}: {f}' for f in self.findings]
        warnings = len(self.findings) - len(self.faults)
        return '\n'.join([*lines, f'faults: {len(self.faults)}, warnings: {warnings}'])

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the verdict as JSON.

        Args:
            path: The file.
        """
        content = {**asdict(self), 'findings': [f._asdict() for f in self.findings]}
        text = json.dumps({**content, 'faults': len(self.faults)}, indent=2) + '\n'
        Path(path).write_text(text, encoding='utf-8')


def verify(cfg: Config, splits: Sequence[str] = SPLITS, workers: int = 0) -> Verdict:
    """Looks at every file of the data sets of a config.

    Args:
        cfg: A config of :func:`mmela.engine.load_config`.
        splits: Which data sets.
        workers: Processes that read files; 0 reads them in this one.

    Returns:
        What was found.

    Raises:
        UserError: If a folder or an annotation file is missing, or the toolbox is.
    """
    splits = [split for split in splits if cfg.get(f'{split}_dataloader')]
    check_data(cfg, splits)
    check_packages(cfg, splits)
    verdict = Verdict(str(cfg.filename))

    def look(tasks: Sequence[Task], key: str) -> list[Record]:
        if workers < 1:
            return list(_with_bar(map(look_at, tasks), len(tasks), key))
        # Not forked: OpenCV and torch may have threads already.
        with multiprocessing.get_context('spawn').Pool(workers) as pool:
            return list(_with_bar(pool.imap(look_at, tasks, _CHUNK), len(tasks), key))

    found = findings_of(cfg, splits, look, every=True, seen=verdict.seen)
    verdict.findings = list(dict.fromkeys(found))
    return verdict


def _with_bar(records: Iterable[Record], total: int, key: str) -> Iterable[Record]:
    """Shows on stderr how far it is, where that is a screen."""
    is_screen = sys.stderr.isatty()
    for number, record in enumerate(records, 1):
        if is_screen and (number % _CHUNK == 0 or number == total):
            bar = ('#' * (30 * number // total)).ljust(30, '.')
            print(f'\r[{bar}] {number}/{total} {key}', end='', file=sys.stderr, flush=True)
        yield record
    if is_screen:
        print(file=sys.stderr)
