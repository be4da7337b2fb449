"""Checks of lists, files, folders and truncated images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmela.errors import UserError

_END_OF_JPEG = b'\xff\xd9'


def read_names(path: Path) -> list[str]:
    """Reads a list of image names, one per line.

    Args:
        path: A file in ``ImageSets/``.

    Returns:
        The names.

    Raises:
        UserError: If the file is missing or empty, has an empty line or one with extra blanks, or
            names an image twice: the toolboxes use each line unchanged as a file name.
    """
    if not path.is_file():
        raise UserError(f'the list {path} does not exist.')
    names = path.read_text(encoding='utf-8').splitlines()
    for number, name in enumerate(names, 1):
        if not name or name != name.strip():
            raise UserError(f'line {number} of {path}: expected an image name, got {name!r}.')
    if not names:
        raise UserError(f'the list {path} is empty.')
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise UserError(f'{path} names {name} {count} times.')
    return names


def require_files(paths: Sequence[Path], what: str, fix: str) -> None:
    """Checks that files exist.

    Args:
        paths: The files.
        what: What they are, in the plural.
        fix: How to get them, as the end of the message.

    Raises:
        UserError: If one is missing; the message counts them and names the first.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(
            f'{len(missing)} of {len(paths)} {what} are missing, the first is {missing[0]}: {fix}.'
        )


def make_folder(path: Path) -> None:
    """Creates a folder for results.

    Args:
        path: The folder; it may exist.

    Raises:
        UserError: If it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'the folder {path} cannot be created ({error.strerror}).') from error


def broken_images(paths: Iterable[Path]) -> list[Path]:
    """Finds images that the toolboxes cannot read.

    Only files without the end marker of a JPEG are decoded, which keeps this fast. The toolboxes
    use ``cv2.imdecode``, which returns None for a truncated image where ``cv2.imread`` returns a
    part of it; training would stop there with a traceback.

    Args:
        paths: JPEG files.

    Returns:
        The files that cannot be decoded, sorted.
    """
    import cv2
    import numpy as np

    broken = []
    for path in sorted(paths):
        with open(path, 'rb') as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - len(_END_OF_JPEG), 0))
            if file.read() == _END_OF_JPEG:
                continue
            file.seek(0)
            data = np.frombuffer(file.read(), np.uint8)
        if not size or cv2.imdecode(data, cv2.IMREAD_COLOR) is None:
            broken.append(path)
    return broken
