"""What is checked around a conversion: lists, files, folders, photographs cut short."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmela.errors import UserError

_END_OF_JPEG = b'\xff\xd9'


def read_names(path: Path) -> list[str]:
    """Reads a list of image names, one a line.

    Args:
        path: A file of ``ImageSets/``.

    Returns:
        The names.

    Raises:
        UserError: If the file is missing or empty, has a line that is empty or padded with blanks,
            or names an image twice: the toolboxes take a line as it stands for a file name.
    """
    if not path.is_file():
        raise UserError(f'there is no list {path}.')
    names = path.read_text(encoding='utf-8').splitlines()
    for number, name in enumerate(names, 1):
        if not name or name != name.strip():
            raise UserError(f'line {number} of {path} is {name!r}: an image name alone is wanted.')
    if not names:
        raise UserError(f'{path} names no image.')
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise UserError(f'{path} names {name} {count} times.')
    return names


def require_files(paths: Sequence[Path], what: str, remedy: str) -> None:
    """Makes sure that files are there.

    Args:
        paths: The files.
        what: What they are, in the plural.
        remedy: How to get them, the end of the sentence.

    Raises:
        UserError: If one is missing; the message counts them and names the first.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(
            f'{len(missing)} of {len(paths)} {what} are missing, the first is {missing[0]}: '
            f'{remedy}.'
        )


def make_folder(path: Path) -> None:
    """Makes a folder for results.

    Args:
        path: The folder; it may exist.

    Raises:
        UserError: If a file stands in its way or nothing may be written there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'the folder {path} cannot be made ({error.strerror}).') from error


def broken_images(paths: Iterable[Path]) -> list[Path]:
    """The photographs that the toolboxes cannot read.

    Only those that do not end as a JPEG does are decoded, so it takes little more than opening
    each. OpenCV's decoder, which the toolboxes use, gives nothing at all for a photograph cut
    short, though its ``imread`` shows one; training stops there with a traceback.

    Args:
        paths: JPEG files.

    Returns:
        Those that cannot be decoded, sorted.
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
