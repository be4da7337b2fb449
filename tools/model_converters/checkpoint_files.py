"""Reads checkpoints without running code from them, and writes them atomically."""

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

#: First bytes of a checkpoint: a zip archive, or a pickle from torch before 1.6.
_MAGIC, _OLD_MAGIC = b'PK', b'\x80\x02'


def check_target(source: str, target: str, overwrite: bool) -> None:
    """Checks that the target may be written.

    Args:
        source: The file that is read.
        target: The file to write.
        overwrite: Whether ``target`` may exist.

    Raises:
        UserError: If ``target`` exists and may not, or is a folder or the source itself.
    """
    if os.path.isdir(target):
        raise UserError(f'expected a file to write, got the folder {target}.')
    if os.path.exists(target):
        if os.path.exists(source) and os.path.samefile(source, target):
            raise UserError(f'{target} is the source itself; choose another name for the output.')
        if not overwrite:
            raise UserError(f'{target} exists already; --overwrite replaces it.')


def read_lines(path: str) -> tuple[str, ...]:
    """Reads the lines of a text file, without empty ones.

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
    """Reads a checkpoint with ``weights_only=True``, so that no code from the file runs.

    Args:
        path: A file written by ``torch.save``.

    Returns:
        Its contents.

    Raises:
        UserError: If the file does not exist, is not a checkpoint, is truncated, or holds more than
            tensors and plain values.
    """
    if os.path.isdir(path):
        raise UserError(f'expected a checkpoint file, got the folder {path}.')
    if not os.path.isfile(path):
        raise UserError(f'the file {path} does not exist.')
    try:
        with open(path, 'rb') as file:
            start = file.read(len(_MAGIC))
        if start not in (_MAGIC, _OLD_MAGIC):
            raise UserError(f'{path} is not a PyTorch checkpoint: it begins with {start!r}.')
        with _numpy_numbers_allowed():
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror or error}).') from error
    # The type of the exception depends on where a file is damaged.
    except Exception as error:
        if unsafe := re.search(r'GLOBAL (\S+)', str(error)):
            raise UserError(
                f'{path} holds more than tensors and plain values ({unsafe[1]}) and is not loaded, '
                'because that could run code; save only its state dict.'
            ) from error
        raise UserError(
            f'{path} ({os.path.getsize(path):,} bytes) is not a PyTorch checkpoint or is truncated '
            f'({_cause(error)}).'
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise UserError(f'{path}: expected a dict, got a {type(checkpoint).__name__}.')
    return checkpoint


def write_checkpoint(checkpoint: Mapping[str, Any], path: str) -> int:
    """Writes a checkpoint to a temporary file and renames it, so that no partial file is left.

    Args:
        checkpoint: Contents of the file.
        path: The file; its folder is created if it does not exist.

    Returns:
        Its size in bytes.

    Raises:
        UserError: If it cannot be written. An existing file is kept then.
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
    """Allows NumPy's float64, which Megvii's trainer stores its best AP as."""
    if digit_version(torch.__version__) < digit_version('2.6'):  # has no list of allowed names
        return nullcontext()
    scalar: Any = np.float64(0).__reduce__()[0]  # the function that unpickles a number
    return torch.serialization.safe_globals(
        # NumPy 1 stored another module name.
        [scalar, (scalar, 'numpy.core.multiarray.scalar'), np.dtype, type(np.dtype('float64'))]
    )


def _cause(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {lines[0].split(". ")[0].rstrip(".")}'
