"""The images that a command is given, and the names of what it writes for them."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

import cv2

from mmela.errors import UserError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def find_images(inputs: str | Sequence[str]) -> list[str]:
    """The images that are meant by files, folders and patterns.

    Args:
        inputs: One or several of these; folders are searched with all below them.

    Returns:
        Paths, each once, in the order given and sorted within a folder or pattern.

    Raises:
        UserError: If a path does not exist, or holds no image.
    """
    found: dict[str, None] = {}
    for given in [inputs] if isinstance(inputs, str) else inputs:
        if os.path.isdir(given):
            paths = sorted(str(p) for p in Path(given).rglob('*') if p.is_file())
        elif os.path.isfile(given):
            paths = [given]
        else:
            paths = sorted(glob.glob(given, recursive=True))
        images = [path for path in paths if path.lower().endswith(IMAGE_SUFFIXES)]
        if not images:
            state = 'no such file or folder' if not paths else 'no image there'
            raise UserError(
                f'{given}: {state}; expected an image ({", ".join(IMAGE_SUFFIXES)}), a folder of '
                'images, or a pattern in quotation marks.'
            )
        found.update(dict.fromkeys(images))
    for path in found:
        if cv2.imread(path) is None:
            raise UserError(f'{path} cannot be read: it is empty, truncated or not an image.')
    return list(found)


def output_names(images: Sequence[str]) -> dict[str, str]:
    """A file name without suffix for each image.

    Args:
        images: Paths.

    Returns:
        By path: the image's own name, behind the folders below the one that all images share.
    """
    folders = [os.path.dirname(os.path.abspath(image)) for image in images]
    shared = os.path.commonpath(folders)
    names: dict[str, str] = {}
    for image in images:
        stem, suffix = os.path.splitext(os.path.relpath(os.path.abspath(image), shared))
        name = stem.replace(os.sep, '-')
        names[image] = name if name not in names.values() else f'{name}_{suffix[1:]}'
    return names
