"""Why an image or mask cannot be read: what the checks before a run and errors during it say."""

from __future__ import annotations

import codecs
import os
import warnings
from typing import NamedTuple

import numpy as np

#: EXIF's number for "Orientation".
_ORIENTATION = 0x0112
#: How image files begin: JPEG, PNG, BMP, TIFF, GIF, WebP, JPEG 2000, PNM.
_MAGIC = (b'\xff\xd8', b'\x89PNG', b'BM', b'II', b'MM', b'GIF8', b'RIFF', b'\x00\x00\x00\x0c', b'P')
#: Byte order marks, with what a file that begins so is.
_MARKS = {
    codecs.BOM_UTF8: 'UTF-8 with a byte order mark',
    codecs.BOM_UTF16_LE: 'UTF-16',
    codecs.BOM_UTF16_BE: 'UTF-16',
}
_CHUNK = 1 << 20


class Header(NamedTuple):
    """What the header of an image file says."""

    width: int
    height: int
    orientation: int = 1  #: EXIF; from 5 on, width and height are exchanged when it is applied
    is_deep: bool = False  #: more than 8 bits a channel
    format: str = ''


def file_fault(path: str) -> str:
    """Why a file cannot be that of an image, without decoding it.

    Args:
        path: The file.

    Returns:
        The fault, to follow the file's name, or ``''``.
    """
    if not os.path.exists(path):
        return f'does not exist{_same_stem(path)}'
    if not os.path.isfile(path):
        return 'is not a file'
    if os.path.getsize(path) == 0:
        return 'is empty (0 bytes)'
    return ''


def read_header(path: str) -> Header | None:
    """Reads the header of an image file.

    Args:
        path: A file that exists.

    Returns:
        The header; None if Pillow does not know the format.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            with Image.open(path) as image:
                is_deep = image.mode.startswith(('I', 'F'))
                orientation = image.getexif().get(_ORIENTATION, 1)
                return Header(*image.size, orientation, is_deep, image.format or '')
        # Damaged headers raise whatever the format's plugin trips over.
        except Exception:
            return None


def decode(path: str, backend: str = 'cv2', flag: str = 'color') -> tuple[np.ndarray | None, str]:
    """Decodes an image file as the pipelines of the toolboxes do.

    Args:
        path: A file that exists.
        backend: ``imdecode_backend`` of the transform.
        flag: ``color_type`` of the transform.

    Returns:
        The image, and why there is none.
    """
    import mmcv

    try:
        with open(path, 'rb') as file:
            content = file.read()
        image = mmcv.imfrombytes(content, flag=flag, backend=backend)
    except Exception as error:  # every backend has its own
        image, reason = None, str(error).strip().splitlines()[:1]
    else:
        reason = []
    if image is not None:
        return image, ''
    if not content.startswith(_MAGIC):
        return None, f'is not an image (it begins with {content[:12]!r})'
    return None, f'is truncated or damaged{f" ({reason[0]})" if reason else ""}'


def _same_stem(path: str) -> str:
    """Names a file beside it that differs in its suffix alone, or lacks one of two suffixes."""
    folder, name = os.path.split(path)
    stem = os.path.splitext(name)[0]
    if os.path.isdir(folder) and stem:
        entries = sorted(os.listdir(folder))
        others = [e for e in entries if stem in (e, os.path.splitext(e)[0])]
        if others:
            return f'; {others[0]} is there'
    return ''


def encoding_fault(path: str) -> str:
    """Why a file is not the UTF-8 that the toolboxes read.

    Args:
        path: A text file.

    Returns:
        The fault and its fix, to follow the file's name, or ``''``.
    """
    decoder = codecs.getincrementaldecoder('utf-8')()
    with open(path, 'rb') as file:
        start = file.read(4)
        for mark, name in _MARKS.items():
            if start.startswith(mark):
                return f'is {name}: save it as UTF-8 without BOM'
        file.seek(0)
        try:
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b'', final=True)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            return (
                f'is not UTF-8 (byte 0x{byte:02x}; perhaps Latin-1): save it as UTF-8 without BOM, '
                f'such as with `iconv -f latin1 -t utf-8`'
            )
    return ''
