"""All runs of a comparison: several at once, never one twice, and one line of progress."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmela.analysis.compare.cell import NO_METRIC_STATUS, RESULT, folder_of, folders_of, read_result
from mmela.analysis.compare.spec import Spec

LOG = 'run.log'


@dataclass
class Progress:
    """Where a comparison stands.

    Attributes:
        total: All runs.
        done: Those with a result.
        running: Entry and seed of those at work.
        failed: Entry, seed and log of those that ended without a result.
        seconds: How long the finished runs took.
    """

    total: int
    done: int = 0
    running: list[tuple[str, int]] = field(default_factory=list)
    failed: list[tuple[str, int, str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def line(self, jobs: int) -> str:
        """One line: runs done, running and failed, and the time that is left."""
        left = self.total - self.done - len(self.failed)
        running = ', '.join(f'{entry} seed {seed}' for entry, seed in self.running)
        text = f'{self.done} of {self.total} runs done'
        if running:
            text += f', running: {running}'
        if self.failed:
            text += f', {len(self.failed)} failed'
        if self.seconds and left:
            text += f', about {minutes_of(self.seconds, left, jobs):.0f} min left'
        return text


def minutes_of(seconds: Sequence[float], runs: int, jobs: int) -> float:
    """How long so many runs take, by the median: that of a run that continued is too short."""
    return statistics.median(seconds) * runs / jobs / 60


def run_all(
    spec: Spec,
    spec_file: str,
    out: str,
    todo: Sequence[tuple[str, int]],
    *,
    jobs: int = 1,
    gpus: Sequence[str] = (),
    say: Callable[[str], None] = print,
    finished: Callable[[], None] = lambda: None,
) -> Progress:
    """Trains and tests, each run in a process of its own.

    A run with a result is not repeated; one that was interrupted goes on from its checkpoint. A run
    that fails does not stop the others, except where its test lacks the metric of the SPEC: then
    no further run starts. SIGTERM and Ctrl-C end the runs with a checkpoint.

    Args:
        spec: The comparison.
        spec_file: Its file.
        out: Folder of the comparison.
        todo: Entries and seeds of the runs; seed by seed, partial results are paired.
        jobs: Runs at once; each has its share of the threads.
        gpus: Ids of GPUs, one for each of the runs at once; none means the processes choose.
        say: Is given each line of progress.
        finished: Is called after each run with a result.

    Returns:
        The progress at the end.

    Raises:
        UserError: If there is a result of another SPEC.
    """
    progress = Progress(len(todo))
    pending = []
    for entry, seed in todo:
        file = folder_of(out, entry, seed) / RESULT
        if file.is_file():
            progress.done += 1
            progress.seconds.append(read_result(spec, entry, file)['seconds'])
        else:
            pending.append((entry, seed))
    if not pending:
        say(progress.line(jobs))
    free = list(range(jobs))
    active: dict[int, tuple[str, int, subprocess.Popen, float]] = {}
    previous = signal.signal(signal.SIGTERM, _exit)
    try:
        while pending or active:
            ended = [
                slot for slot, (_, _, process, _) in active.items() if process.poll() is not None
            ]
            for slot in ended:
                entry, seed, process, begun = active.pop(slot)
                free.append(slot)
                folder = folder_of(out, entry, seed)
                if process.returncode == 0 and (folder / RESULT).is_file():
                    progress.done += 1
                    progress.seconds.append(time.time() - begun)
                    finished()
                else:
                    progress.failed.append((entry, seed, str(folder / LOG)))
                    reason = _reason(process.returncode, folder / LOG)
                    say(f'{entry}, seed {seed} failed: {reason}; see {folder / LOG}')
                    if process.returncode == NO_METRIC_STATUS:
                        say('its test has no such metric, so no further run starts')
                        pending.clear()
            while pending and free:
                entry, seed = pending.pop(0)
                slot = free.pop(0)
                process = _start(spec_file, entry, seed, out, jobs, slot, gpus)
                active[slot] = (entry, seed, process, time.time())
            running = [(entry, seed) for entry, seed, _, _ in active.values()]
            if running != progress.running:
                progress.running = running
                say(progress.line(jobs))
            time.sleep(0.2)
    finally:
        for _, _, process, _ in active.values():
            process.send_signal(signal.SIGTERM)  # the run saves a checkpoint and ends
        for _, _, process, _ in active.values():
            process.wait()
        signal.signal(signal.SIGTERM, previous)
    return progress


def _reason(status: int, log: Path) -> str:
    """A signal, or the last line of the log: the sentence of a user error, a traceback's last."""
    if status < 0:
        name = signal.Signals(-status).name
        return f'it was ended by {name}' + ' (out of memory?)' * (name == 'SIGKILL')
    lines = log.read_text(encoding='utf-8', errors='replace').split('\n')
    return next((line.strip() for line in reversed(lines) if line.strip()), 'it said nothing')


def _exit(signum: int, frame: Any) -> None:
    sys.exit(128 + signum)


def results_of(spec: Spec, out: str) -> dict[str, dict[int, dict[str, Any]]]:
    """Reads the results that are there, by entry and seed.

    Raises:
        UserError: If one is of another SPEC.
    """
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for entry in spec.entries:
        for seed, folder in folders_of(out, entry).items():
            if (folder / RESULT).is_file():
                found.setdefault(entry, {})[seed] = read_result(spec, entry, folder / RESULT)
    return found


def _start(
    spec_file: str, entry: str, seed: int, out: str, jobs: int, slot: int, gpus: Sequence[str]
) -> subprocess.Popen:
    folder = folder_of(out, entry, seed)
    folder.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    environment.setdefault('OMP_NUM_THREADS', str(max(len(os.sched_getaffinity(0)) // jobs, 1)))
    if gpus:
        environment['CUDA_VISIBLE_DEVICES'] = gpus[slot % len(gpus)]
    module = [sys.executable, '-m', 'mmela.analysis.compare.cell']
    with open(folder / LOG, 'ab') as log:
        return subprocess.Popen(
            [*module, str(Path(spec_file)), entry, str(seed), out],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
