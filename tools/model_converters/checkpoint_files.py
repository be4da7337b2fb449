"""Checks the files of a conversion, and writes the new one atomically."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from mmela.errors import UserError


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
