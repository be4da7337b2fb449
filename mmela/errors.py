"""How mmela answers a user error: one sentence that names key, cause and fix."""

from __future__ import annotations

import difflib
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

#: Exit status after a person's mistake, the one that argparse uses too.
USER_ERROR_STATUS = 2

_LOCAL_RANK_VARIABLES = {
    'pytorch': 'LOCAL_RANK',
    'slurm': 'SLURM_LOCALID',
    'mpi': 'OMPI_COMM_WORLD_LOCAL_RANK',
}


#: How long the other processes of a machine leave it to the first to speak.
_SPEAKER_SECONDS = 30


class UserError(Exception):
    """Something that the person at the keyboard can put right; the message says how."""


def local_rank(launcher: str) -> int:
    """The number of this process on its machine, known before processes are connected.

    Args:
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Returns:
        The local rank, 0 without a launcher.
    """
    return int(os.environ.get(_LOCAL_RANK_VARIABLES.get(launcher, ''), 0))


@contextmanager
def exit_on_user_error(launcher: str = 'none') -> Iterator[None]:
    """Turns a mistake inside the block into a message and exit status 2.

    Args:
        launcher: How the processes were started; the first process of a machine speaks.

    Raises:
        SystemExit: With status 2 after a :class:`UserError` or :class:`ConfigError`.
    """
    try:
        yield
    except (UserError, ConfigError) as error:
        if local_rank(launcher) != 0 and not getattr(error, 'is_of_one_process', False):
            # The first process says the same; a launcher that saw this one end before would end
            # that one, and nobody would hear of it. So this one waits to be ended by it.
            time.sleep(_SPEAKER_SECONDS)
        print(f'error: {_without_builder_prefix(str(error))}', file=sys.stderr, flush=True)
        raise SystemExit(USER_ERROR_STATUS) from None


class ConfigError(ValueError):
    """A mistake in a config or an argument; the message is a whole sentence for its author.

    The command line tools print the message alone and exit with status 2. Anything else that
    escapes from mmela is a bug of ours and keeps its traceback.
    """


def did_you_mean(name: object, choices: Iterable[str]) -> str:
    """A closing half-sentence that offers the nearest of some names.

    Args:
        name: What was written.
        choices: What could have been meant.

    Returns:
        ``"; did you mean 'X'?"``, or ``'.'`` where nothing is near.

    Examples:
        >>> did_you_mean('after_conf2', ['after_conv1', 'after_conv2'])
        "; did you mean 'after_conv2'?"
        >>> did_you_mean('neck', ['after_stage'])
        '.'
    """
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1)
    return f"; did you mean '{by_lower[near[0]]}'?" if near else '.'


def cause_of(error: Exception) -> str:
    """Kind and first line of an exception, such as ``'RuntimeError: compiled for another torch'``.

    Args:
        error: What an import raised.

    Returns:
        The cause, without a full stop.
    """
    text = str(error).strip()
    first_line = f': {text.splitlines()[0]}' if text else ''
    return f'{type(error).__name__}{first_line}'.rstrip('.')


def remedy_for(error: Exception, otherwise: str) -> str:
    """What mends a toolbox whose import failed, which is often another package.

    Args:
        error: What the import raised.
        otherwise: The remedy where nothing but the toolbox itself is known to be at fault.

    Returns:
        Half a sentence, without a full stop.
    """
    missing = (error.name or '').split('.')[0] if isinstance(error, ImportError) else ''
    # A torchvision that is there and does not fit torch raises whatever comes first: an operator
    # that does not exist, a version of CUDA, a module that is partially initialized.
    if missing == 'torchvision' or 'torchvision' in str(error):
        return f'install the torchvision that belongs to your torch: {torchvision_command()}'
    return otherwise


def torchvision_command() -> str:
    """The command that installs the torchvision for the torch that is running.

    pip finds it by torch's exact version. The index is that of torch's build: PyPI has builds for
    CPU alone on macOS and ARM only.
    """
    version, _, build = str(torch.__version__).partition('+')
    known = re.fullmatch(r'cpu|xpu|cu\d+|rocm[\d.]+', build)
    index = f' --index-url https://download.pytorch.org/whl/{build}' if known else ''
    return f'`pip install torch=={version} torchvision{index}`'


def _without_builder_prefix(message: str) -> str:
    """Drops the "class `X` in y.py: " that the original MMEngine puts before each message."""
    return re.sub(r'^(class `\w+` in [\w/.]+: )+', '', message)
