"""Errors that end in one clear sentence, and helpers to write it."""

from __future__ import annotations

import difflib
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

#: Exit status of a command after a user error; argparse uses it too.
USER_ERROR_STATUS = 2

_LOCAL_RANK_VARIABLES = {
    'pytorch': 'LOCAL_RANK',
    'slurm': 'SLURM_LOCALID',
    'mpi': 'OMPI_COMM_WORLD_LOCAL_RANK',
}
#: Seconds that other processes of a machine wait for the first one to report an error.
_REPORT_SECONDS = 30


#: What PyTorch says, and the answer.
_PYTORCH_ERRORS = {
    r'Expected more than 1 value per channel when training': (
        'a batch holds one image, and a BatchNorm layer met a map of one pixel, of which it cannot '
        'take statistics: the last batch is smaller than the others, '
        '--cfg-options train_dataloader.drop_last=True, or all are, '
        '--cfg-options train_dataloader.batch_size=2.'
    ),
    r'Expected to have finished reduction in the prior iteration': (
        'some parameters take no part in the loss, which training in several processes does not '
        'allow by default: --cfg-options find_unused_parameters=True, or take the layers that are '
        'not used out of the model.'
    ),
    r'Target -?\d+ is out of bounds': (
        'a mask or label holds a value that is no class of the head: '
        'python tools/misc/verify_dataset.py CONFIG names the files.'
    ),
}


class UserError(Exception):
    """An error that the user can fix; the message is a whole sentence that says how.

    The command line tools print the message alone and exit with status 2. Any other exception
    that escapes from mmela is a bug and keeps its traceback.
    """


class ConfigError(UserError, ValueError):
    """A :class:`UserError` in a config or in an argument."""


@contextmanager
def exit_on_user_error(launcher: str = 'none') -> Iterator[None]:
    """Turns a :class:`UserError` inside the block into a message on stderr and exit status 2.

    Raises:
        SystemExit: In place of the :class:`UserError`; with status 130 after Ctrl-C.
    """
    try:
        yield
    except UserError as error:
        if local_rank(launcher) != 0 and not getattr(error, 'is_of_one_process', False):
            # The first process reports the same error. If this one ended before, the launcher
            # would end that one too, and there would be no message: wait to be ended by it.
            time.sleep(_REPORT_SECONDS)
        # The original MMEngine puts "class `X` in y.py: " before each message.
        message = re.sub(r'^(class `\w+` in [\w/.]+: )+', '', str(error))
        print(f'error: {message}', file=sys.stderr, flush=True)
        raise SystemExit(USER_ERROR_STATUS) from None
    except KeyboardInterrupt:  # before the training, which handles Ctrl-C itself, or in a test
        print('SIGINT: ended.', file=sys.stderr, flush=True)
        raise SystemExit(128 + signal.SIGINT) from None


def local_rank(launcher: str) -> int:
    """The number of this process on its machine, known before processes are connected.

    Returns:
        The local rank; 0 without a launcher.
    """
    return int(os.environ.get(_LOCAL_RANK_VARIABLES.get(launcher, ''), 0))


def set_local_rank(launcher: str, given: int | None = None) -> None:
    """Sets ``LOCAL_RANK``, which MMEngine reads, where the launcher has not.

    Args:
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        given: The value of ``--local_rank``, if there is one.
    """
    os.environ.setdefault('LOCAL_RANK', str(local_rank(launcher) if given is None else given))


@contextmanager
def explain_errors() -> Iterator[None]:
    """Translates errors of MMEngine and the toolboxes that have a cause in the config or the data.

    Translated are a type that is not registered, an argument that a type does not take, and errors
    of PyTorch that a setting avoids. Whatever else fails keeps its exception and traceback.

    Raises:
        UserError: In place of the error, whose first line it quotes.
    """
    try:
        yield
    except KeyError as error:
        sentence = _unknown_type(str(error.args[0]) if error.args else '')
        if sentence is None:
            raise
        raise UserError(sentence) from error
    except TypeError as error:
        if not _is_raised_by_registry(error):
            raise
        reason = str(error).splitlines()[0].rstrip('.')
        raise UserError(f'the config does not fit the code: {reason}.') from error
    except (ValueError, RuntimeError, IndexError) as error:
        if isinstance(error, UserError):
            raise
        for pattern, answer in _PYTORCH_ERRORS.items():
            if re.search(pattern, str(error)):
                quoted = re.split(r'(?<=\w)[.\n]', str(error).strip())[0]
                raise UserError(f'{answer} (PyTorch: {quoted})') from error
        raise


def _unknown_type(message: str) -> str | None:
    match = re.search(r'([\w.:]+) is not in the (?:(\w+)::)?([\w ]+) registry', message)
    if match is None:
        return None
    name, scope, kind = match.groups()
    where = f"the '{kind}' registry" + (f' of {scope} and its parents' if scope else '')
    return (
        f"type '{name}' of the config is not registered in {where}"
        f'{did_you_mean(name, _registered_names(scope, kind))}'
        ' A type of your own needs custom_imports in the config.'
    )


def _registered_names(scope: str | None, kind: str) -> set[str]:
    from mmengine import registry as mmengine_registry

    names: set[str] = set()
    for root in vars(mmengine_registry).values():
        if isinstance(root, mmengine_registry.Registry) and root.name == kind:
            names.update(root.module_dict)
            if scope in root.children:
                names.update(root.children[scope].module_dict)
    return names


def _is_raised_by_registry(error: TypeError) -> bool:
    """Whether a registry's call failed, rather than something inside what it called."""
    frames = traceback.extract_tb(error.__traceback__)
    wrong_arguments = re.search(
        r'unexpected keyword argument|required (positional|keyword-only) argument|'
        r'multiple values for',
        str(error),
    )
    return bool(wrong_arguments and frames and frames[-1].name.startswith('build_'))


def did_you_mean(name: object, choices: Iterable[str]) -> str:
    """Ends a sentence with the nearest of some names.

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


def listed(names: Iterable[str], limit: int = 10) -> str:
    """Joins names by commas; ``...`` stands for those beyond a limit."""
    names = list(names)
    return ', '.join(names[:limit]) + ', ...' * (len(names) > limit)


def cause_of(error: Exception) -> str:
    """Kind and first line of an exception, such as ``'RuntimeError: compiled for another torch'``.

    Returns:
        The cause, without a full stop.
    """
    text = str(error).strip()
    first_line = f': {text.splitlines()[0]}' if text else ''
    return f'{type(error).__name__}{first_line}'.rstrip('.')


def remedy_for(error: Exception, otherwise: str) -> str:
    """The fix for a toolbox that cannot be imported; the cause is often another package.

    Returns:
        Half a sentence, without a full stop.
    """
    missing = (error.name or '').split('.')[0] if isinstance(error, ImportError) else ''
    # A torchvision that does not fit torch raises whatever comes first: an operator that does not
    # exist, a version of CUDA, a module that is partially initialized.
    if missing == 'torchvision' or 'torchvision' in str(error):
        return f'install the torchvision that belongs to your torch: {torchvision_command()}'
    return otherwise


def torchvision_command() -> str:
    """The command that installs the torchvision for the torch that is running.

    pip finds it by torch's exact version. The index is that of torch's build, because PyPI has
    CPU builds for macOS and ARM alone.
    """
    version, _, build = str(torch.__version__).partition('+')
    known = re.fullmatch(r'cpu|xpu|cu\d+|rocm[\d.]+', build)
    index = f' --index-url https://download.pytorch.org/whl/{build}' if known else ''
    return f'`pip install torch=={version} torchvision{index}`'
