"""Reading checkpoints of others without trusting them, and writing without losing anything."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from mmengine.utils import digit_version

from mmela.errors import UserError

#: How checkpoints begin: a zip archive, or a pickle, as torch wrote them before 1.6.
_MAGIC, _OLD_MAGIC = b'PK', b'\x80\x02'


def check_target(source: str, target: str, overwrite: bool) -> None:
    """Checks that a file may be written.

    Args:
        source: The file that is read.
        target: The file to write.
        overwrite: Whether it may exist.

    Raises:
        UserError: If it may not, or is a folder or the source itself.
    """
    if os.path.isdir(target):
        raise UserError(f'{target} is a folder, and the name of a file is needed.')
    if os.path.exists(target):
        if os.path.exists(source) and os.path.samefile(source, target):
            raise UserError(f'{target} is the source itself; give the converted file another name.')
        if not overwrite:
            raise UserError(f'{target} is there already; --overwrite replaces it.')


def read_lines(path: str) -> tuple[str, ...]:
    """The lines of a text file, without the empty ones.

    Args:
        path: The file.

    Raises:
        UserError: If it cannot be read.
    """
    try:
        with open(path, encoding='utf-8') as file:
            return tuple(line.strip() for line in file if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path} cannot be read ({error}).') from error


def read_checkpoint(path: str) -> Mapping[str, Any]:
    """Reads a checkpoint with ``weights_only=True``: no code of the file is run.

    Args:
        path: A file that ``torch.save`` wrote.

    Returns:
        What it holds.

    Raises:
        UserError: If there is no such file, it is a folder, cut short or something else, or it
            holds more than tensors and plain values.
    """
    if os.path.isdir(path):
        raise UserError(f'{path} is a folder, and the name of a checkpoint is needed.')
    if not os.path.isfile(path):
        raise UserError(f'there is no file {path}.')
    try:
        with open(path, 'rb') as file:
            start = file.read(len(_MAGIC))
        if start not in (_MAGIC, _OLD_MAGIC):
            raise UserError(f'{path} is no PyTorch checkpoint: it begins with {start!r}.')
        with _numpy_numbers_allowed():
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror or error}).') from error
    # What a damaged file raises depends on where the damage is.
    except Exception as error:
        if unsafe := re.search(r'GLOBAL (\S+)', str(error)):
            raise UserError(
                f'{path} holds more than tensors and plain values ({unsafe[1]}), and is not read '
                'because that could run code; save its state dict alone.'
            ) from error
        raise UserError(
            f'{path} ({os.path.getsize(path):,} bytes) is no PyTorch checkpoint or is cut short '
            f'({_cause(error)}).'
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise UserError(f'{path} holds a {type(checkpoint).__name__}, and a dict is expected.')
    return checkpoint


def write_checkpoint(checkpoint: Mapping[str, Any], path: str) -> int:
    """Writes a checkpoint under its name only once it is whole.

    Args:
        checkpoint: What to write.
        path: The file; its folder is made where it is missing.

    Returns:
        Its size in bytes.

    Raises:
        UserError: If it cannot be written. A file that was there before is as it was.
    """
    part = f'{path}.part'
    try:
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        try:
            with open(part, 'wb') as file:
                torch.save(dict(checkpoint), file)
            os.replace(part, path)
        finally:
            if os.path.exists(part):
                os.remove(part)
    except OSError as error:
        raise UserError(f'{path} cannot be written ({error.strerror or error}).') from error
    return os.path.getsize(path)


def _numpy_numbers_allowed() -> AbstractContextManager[Any]:
    """Lets NumPy's float64 through: Megvii's trainer stores its best AP as one."""
    if digit_version(torch.__version__) < digit_version('2.6'):  # has no names to allow
        return nullcontext()
    scalar: Any = np.float64(0).__reduce__()[0]  # the function that makes a number again
    return torch.serialization.safe_globals(
        # Its module has another name in files that NumPy 1 wrote.
        [scalar, (scalar, 'numpy.core.multiarray.scalar'), np.dtype, type(np.dtype('float64'))]
    )


def _cause(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {lines[0].split(". ")[0].rstrip(".")}'
