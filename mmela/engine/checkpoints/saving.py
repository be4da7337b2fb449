"""Writes files so that a name always stands for a whole file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mmela.errors import UserError

#: Name of :class:`SafeLocalBackend` in ``backend_args``.
SAFE_LOCAL = 'mmela.SafeLocalBackend'
#: What a file is called until it is whole.
PART = '.part'
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}


@register_backend(SAFE_LOCAL)
class SafeLocalBackend(LocalBackend):
    """MMEngine's local disk for files that must not be lost.

    A file is written beside its place, flushed to the disk and renamed. What is to be removed
    stays until :meth:`remove_replaced` is called, since MMEngine's CheckpointHook removes an old
    checkpoint before it writes the new one.
    """

    def __init__(self) -> None:
        self._replaced: list[str] = []

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes a file, or leaves the one that was there as it was.

        Args:
            obj: The content.
            filepath: Its place.

        Raises:
            OSError: If the disk does not take it.
        """
        part = f'{filepath}{PART}'
        try:
            super().put(obj, part)
            _sync(part)
            os.replace(part, filepath)
        except OSError as error:
            with suppress(OSError):
                os.remove(part)
            raise OSError(error.errno, error.strerror, os.fspath(filepath)) from error
        if os.name == 'posix':
            _sync(os.path.dirname(os.path.abspath(filepath)))

    def remove(self, filepath: str | Path) -> None:
        """Notes a file for removal.

        Args:
            filepath: The file.
        """
        self._replaced.append(os.path.abspath(filepath))

    def rmtree(self, dir_path: str | Path) -> None:
        """Notes a folder for removal.

        Args:
            dir_path: The folder.
        """
        self._replaced.append(os.path.abspath(dir_path))

    def remove_replaced(self, folder: str, keep: Iterable[str | None]) -> None:
        """Removes what was noted.

        Args:
            folder: Where it must lie: a name that a checkpoint brought along may point anywhere.
            keep: Files that were written under the same names since.
        """
        if not self._replaced:
            return
        kept = {os.path.abspath(path) for path in keep if path}
        for path in self._replaced:
            if os.path.dirname(path) != os.path.abspath(folder) or path in kept:
                continue
            if self.isdir(path):
                super().rmtree(path)
            elif self.isfile(path):
                super().remove(path)
        self._replaced.clear()


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:  # some network disks cannot
            raise
    finally:
        os.close(descriptor)


def make_work_dir(work_dir: str) -> None:
    """Makes the work dir and writes to it, before a run spends hours on what it cannot keep.

    Args:
        work_dir: The folder.

    Raises:
        UserError: If that does not work.
    """
    probe = os.path.join(work_dir, f'.writable_{os.getpid()}')
    try:
        os.makedirs(work_dir, exist_ok=True)
        with open(probe, 'wb') as file:
            file.write(bytes(4096))
        os.remove(probe)
    except OSError as error:
        with suppress(OSError):
            os.remove(probe)
        raise UserError(
            f'cannot write to the work dir {work_dir} ({error.strerror}); free some space there or '
            'name another folder with --work-dir.'
        ) from error


@contextmanager
def explain_failed_writes(work_dir: str) -> Iterator[None]:
    """Translates a full or read-only disk into a sentence.

    Args:
        work_dir: Where the run writes.

    Raises:
        UserError: In place of the ``OSError``.
    """
    try:
        yield
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else ''
        is_ours = os.path.abspath(name).startswith(os.path.abspath(work_dir)) if name else False
        if error.errno not in _NO_ROOM and not (error.errno in _NO_ACCESS and is_ours):
            raise
        raise UserError(
            f'cannot write to {name or work_dir} ({error.strerror}); the checkpoints that were '
            'there before are whole. Make room and start again, a training with --resume.'
        ) from error
