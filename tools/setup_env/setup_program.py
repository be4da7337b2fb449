"""The command line of the set-up: decides what to do, one run at a time."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import signal
import sys
import time
from pathlib import Path

from env_state import (
    DISTRIBUTIONS,
    ROOT,
    Environment,
    base_python,
    deciding_files,
    environment_key,
    running_python,
)
from env_steps import HARMLESS, Setup, read_requirement
from machine_checks import check_python_parts, find_nvcc
from step_runner import CommandFailed, SetupError, clock, end_of_log


def why_anew(environment: Environment, torch: str) -> str:
    """Why an environment must be created again, or an empty string."""
    state = environment.state
    if state['torch'] != torch:
        return f'another torch was requested ({torch})'
    if state['python'] != running_python():
        return f'another Python was requested ({running_python()})'
    if state['running'] not in HARMLESS:
        return 'an earlier run was interrupted during an installation'
    if state['complete'] and environment.gone():
        return f'{environment.gone()} is missing'
    return '' if environment.runs() else 'its Python or pip does not run'


def prepare(environment: Environment, torch: str) -> tuple[str, bool]:
    """Decides what to do with an existing environment.

    Args:
        environment: The environment; removed if it cannot be reused.
        torch: The requested requirement, or '' for the previous one or the default.

    Returns:
        The requirement for torch, and whether there is anything to do.
    """
    environment.refuse_foreign()
    state = environment.state
    # An earlier choice is kept only if it could be installed, so that a typo is not remembered.
    held = state.get('torch_chosen') and 'torch' in state['done']
    chosen = torch or (state['torch'] if held else '')
    requirement = chosen or read_requirement('torch.txt', 'torch')
    key = environment_key(requirement, running_python(), environment.venv, deciding_files())
    same = state.get('key') == key
    if same and state.get('complete'):
        gone, changed = environment.gone(), environment.replaced()
        if not changed and state.get('wants_nvcc') and find_nvcc():
            changed = 'nvcc is available now'
        if not gone and not changed:
            return requirement, False
        print(f'setup: {gone + " is missing" if gone else changed}; installing again.', flush=True)
        same = False
    elif state and same:
        print('setup: continuing an earlier run.', flush=True)
    elif state:
        print('setup: the requirements changed; installing again.', flush=True)
    check_python_parts()
    if state and (reason := why_anew(environment, requirement)):
        print(f'setup: {reason}; {environment.venv.name} is created again.', flush=True)
        environment.remove()
        same = False
    if not same:
        environment.start(key, requirement, bool(chosen))
    return requirement, True


def keep_python(environment: Environment, arguments: list[str]) -> None:
    """Restarts with the Python that created the environment, unless another was chosen."""
    before = environment.state.get('base_python', '')
    if before and before != base_python() and os.access(before, os.X_OK):
        os.execv(before, [before, str(Path(__file__).parent), *arguments])


@contextlib.contextmanager
def one_at_a_time():
    """Makes a second set-up of this checkout wait; the lock ends with the process."""
    handle = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print('setup: waiting for another set-up of this checkout.', flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def set_up(environment: Environment, torch: str) -> None:
    """Brings the environment up to date with the checkout."""
    begun = time.monotonic()
    requirement, needed = prepare(environment, torch)
    if not needed:
        print(f'setup: {environment.venv.name} is up to date.', flush=True)
        return
    Setup(environment, requirement).run()
    distributions = {name: environment.distribution(name) for name in DISTRIBUTIONS}
    environment.write(complete=True, distributions=distributions)
    print(f'setup: done in {clock(time.monotonic() - begun)}.', flush=True)


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit status, 2 for a user error."""
    parser = argparse.ArgumentParser(prog='setup_env', description='Set up mmela.')
    parser.add_argument('--venv', default='.venv', help='folder of the virtual environment')
    parser.add_argument('--torch', default='', help='requirement for torch, e.g. torch==2.13.0')
    parser.add_argument(
        '--python-chosen',
        action='store_true',
        help='create an environment of another Python again',
    )
    parser.add_argument('--remove', action='store_true', help='delete the environment')
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        venv = Path(options.venv).expanduser().absolute()
        if options.remove:
            Environment(venv).remove()
            return 0
        if not options.python_chosen:
            keep_python(Environment(venv), arguments)
        with one_at_a_time():
            set_up(Environment(venv), options.torch.strip())
    except SetupError as error:
        if error.log and error.log.is_file():
            print(f'\n{end_of_log(error.log)}\n', file=sys.stderr)
        print(f'setup: {error}', file=sys.stderr)
        if error.log:
            print(f'setup: see the log {error.log}', file=sys.stderr)
        return 1 if isinstance(error, CommandFailed) else 2
    except KeyboardInterrupt:
        print('\nsetup: stopped; run it again to continue.', file=sys.stderr)
        return 130
    return 0
