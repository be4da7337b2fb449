"""Runs a command of the set-up, with its output in a log and its progress on the screen."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SPARSE_SECONDS = 20  # between lines of progress if the output is not a terminal
LOG_LINES_SHOWN = 25


class SetupError(Exception):
    """A failure that the user can fix; the message says how.

    Args:
        message: One sentence.
        log: The log that explains it, if there is one.
    """

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


class CommandFailed(SetupError):
    """A command failed for an unknown cause."""


# Output of pip and compilers, and its meaning. The first match counts.
KNOWN_CAUSES = (
    (
        r'No space left on device',
        'the disk is full: free some space (about 3 GB are needed, 10 GB with a CUDA torch)',
    ),
    (
        r'Temporary failure in name resolution|Name or service not known|Network is unreachable'
        r'|NewConnectionError|ConnectTimeout|Connection refused|Failed to establish a new conn',
        "pip's index cannot be reached: check the network, or pip's own settings (pip config list)",
    ),
    (
        r'ReadTimeout|Read timed out|IncompleteRead|ProtocolError',
        'a download was interrupted: run the same command again, finished steps are kept',
    ),
    (
        r'(?P<what>No matching distribution found for .*)',
        'pip: {what} (none for this Python, or the index did not answer)',
    ),
    (
        r'THESE PACKAGES DO NOT MATCH THE HASHES',
        'a download was corrupted: run the same command again',
    ),
    (
        r'ResolutionImpossible|conflicting dependencies',
        'these versions are incompatible: see the log and requirements/constraints.txt',
    ),
    (
        r'internal compiler error: Killed|Killed signal terminated program',
        'the compiler ran out of memory: run it again with MAX_JOBS=1',
    ),
)


def explain(log_text: str) -> str:
    """The known cause in a log, as a sentence, or an empty string."""
    for pattern, meaning in KNOWN_CAUSES:
        found = re.search(pattern, log_text)
        if found:
            return meaning.format(**found.groupdict())
    return ''


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds: 83.2 -> '1:23'."""
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes}:{rest:02d}'


class Screen:
    """Shows one line per step, updated on a terminal and repeated sparsely elsewhere.

    Args:
        total: Number of steps.
        stream: Output, by default standard output.
    """

    def __init__(self, total: int, stream=None) -> None:
        self.stream = stream or sys.stdout
        self.total = total
        self.live = self.stream.isatty()
        self.number = 0
        self.title = ''
        self._begun = self._shown = time.monotonic()

    def begin(self, title: str) -> None:
        """Starts the line of the next step."""
        self.number += 1
        self.title = title
        self._begun = self._shown = time.monotonic()
        self._write('...', end='' if self.live else '\n')

    def progress(self, detail: str) -> None:
        """Shows the progress of the step."""
        now = time.monotonic()
        if not self.live and now - self._shown < SPARSE_SECONDS:
            return
        self._shown = now
        words = f'{detail}  {clock(now - self._begun)}' if detail else clock(now - self._begun)
        self._write(f'... {words}', end='' if self.live else '\n')

    def end(self, outcome: str) -> None:
        """Ends the line of the step."""
        self._write(f': {outcome} ({clock(time.monotonic() - self._begun)})')

    def note(self, sentence: str) -> None:
        """Prints a message outside of the steps."""
        self._clear()
        print(sentence, file=self.stream, flush=True)

    def _clear(self) -> None:
        if self.live:
            self.stream.write('\r\033[K')

    def _write(self, tail: str, end: str = '\n') -> None:
        self._clear()
        joint = '' if tail.startswith(':') else ' '
        line = f'[{self.number}/{self.total}] {self.title}{joint}{tail}'
        if self.live and not end:  # a wrapped line could not be updated
            line = line[: shutil.get_terminal_size().columns - 1]
        self.stream.write(line + end)
        self.stream.flush()


def ninja_counter(text: str) -> str:
    """The last `[41/78]` of a compiler's output, or an empty string."""
    found = re.findall(r'\[\d+/\d+\]', text)
    return found[-1] if found else ''


def last_line(text: str) -> str:
    """The last non-empty line, shortened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:60] if lines else ''


def run(
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_output: Callable[[str], None] = lambda text: None,
) -> None:
    """Runs a command to its end.

    Args:
        command: The program and its arguments.
        log: File that the output is appended to.
        env: Environment variables of the command.
        cwd: Working directory.
        on_output: Called several times per second with the end of the output.

    Raises:
        SetupError: If the command fails for a known cause.
        CommandFailed: If it fails for another.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('ab') as sink:
        sink.write(('$ ' + ' '.join(command) + '\n').encode())
        sink.flush()
        start = sink.tell()
        # In a new session, so that the compilers started by pip are stopped together with it.
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        try:
            while True:
                try:
                    process.wait(timeout=0.25)
                    break
                except subprocess.TimeoutExpired:
                    on_output(_tail(log, start))
        finally:
            if process.poll() is None:
                _stop(process)
    if process.returncode:
        cause = explain(_tail(log, start, size=200_000))
        if cause:
            raise SetupError(f'{cause}.', log)
        raise CommandFailed(f'the command exited with status {process.returncode}.', log)


def _tail(log: Path, start: int, size: int = 8_000) -> str:
    with log.open('rb') as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(start, stream.tell() - size))
        return stream.read().decode(errors='replace')


def _stop(process: subprocess.Popen) -> None:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):  # at SIGINT pip cleans up
        try:
            os.killpg(process.pid, signum)
            process.wait(timeout=5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def end_of_log(log: Path) -> str:
    """The last lines of a log, indented, for the screen."""
    lines = log.read_text(errors='replace').splitlines()[-LOG_LINES_SHOWN:]
    return '\n'.join('    ' + line[:300] for line in lines)
