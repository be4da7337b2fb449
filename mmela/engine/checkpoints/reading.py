"""Reads checkpoints as data: whole files of tensors and plain values, whose code never runs."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from typing import Any, BinaryIO

import torch
from mmengine.runner import CheckpointLoader

from mmela.engine.checkpoints.unpickler import RefusedObjects, resolve, restricted_pickle
from mmela.errors import UserError, listed

#: How checkpoints begin: a zip archive, or the pickle of torch before 1.6.
_ZIP, _PICKLE = b'PK\x03\x04', b'\x80'
#: What a TorchScript archive contains, which ``torch.load`` would hand on to ``torch.jit.load``.
_TORCHSCRIPT = b'constants.pkl'
_NAMES_SHOWN = 5
_torch_load = torch.load


def read_checkpoint(
    path: str, name: str = 'the checkpoint', without: str = '', trust: bool = False
) -> dict[str, Any]:
    """Reads a local checkpoint.

    Args:
        path: The file.
        name: What it is, for the message: a config key.
        without: The option that runs without it, if there is one.
        trust: Whether to run the code that the file may hold.

    Returns:
        What it holds, on the CPU.

    Raises:
        UserError: If there is no such file; it is damaged or something else; or it holds more
            than tensors and plain data, and is not trusted.
    """
    hint = f'; to run without these weights: --cfg-options {without}' if without else ''
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        raise UserError(f'{name}: expected a checkpoint file, got the folder {path}.')
    try:
        checkpoint = load(path, 'cpu', trust=trust)
    except OSError as error:
        raise UserError(f'{name}: cannot read {path} ({error.strerror}){hint}.') from error
    except UserError as error:
        raise UserError(f'{name}: {str(error).rstrip(".")}{hint}.') from error
    if not isinstance(checkpoint, dict):
        kind = type(checkpoint).__name__
        raise UserError(f'{name}: expected a state dict in {path}, got a {kind}{hint}.')
    return checkpoint


def load(file: str | os.PathLike[str] | BinaryIO, map_location: Any, trust: bool = False) -> Any:
    """Loads what ``torch.save`` wrote, in place of ``torch.load``.

    The checksums of the file are compared, which ``torch.load`` does not do.

    Args:
        file: A path or an open file.
        map_location: As in ``torch.load``.
        trust: Whether to run the code that the file may hold.

    Returns:
        The object.

    Raises:
        OSError: If the file cannot be read.
        UserError: If it is damaged or something else, or holds more than tensors and plain data
            and is not trusted.
    """
    if isinstance(file, (str, os.PathLike)):
        with open(file, 'rb') as opened:
            return _load_open(opened, os.fspath(file), map_location, trust)
    return _load_open(file, getattr(file, 'name', 'the checkpoint'), map_location, trust)


def _load_open(file: BinaryIO, path: str, map_location: Any, trust: bool) -> Any:
    fault = damage(file)
    if fault:
        raise UserError(f'{path} is {fault}.')
    refused: list[str] = []
    options: dict[str, Any] = {} if trust else {'pickle_module': restricted_pickle(refused)}
    try:
        if not trust and _contains(file, _TORCHSCRIPT):
            raise RefusedObjects(['a TorchScript program'])
        with _without_variable(None if trust else 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'):
            loaded = _torch_load(file, map_location=map_location, weights_only=False, **options)
    except OSError:
        raise
    # What a damaged file raises depends on where the damage is.
    except Exception as error:
        if isinstance(error, RefusedObjects):
            refused += error.names
        if not refused:
            cause = (str(error).strip().splitlines() or [''])[0].split('. ')[0].rstrip('.')
            raise UserError(
                f'{path} is not a PyTorch checkpoint or is damaged '
                f'({type(error).__name__}: {cause}).'
            ) from error
    if refused:
        raise UserError(refusal(path, refused))
    return loaded if trust else resolve(loaded)


def refusal(path: str, names: list[str]) -> str:
    """The sentence for a file that holds more than data.

    Args:
        path: The file.
        names: What it asks for.
    """
    shown = listed(names, _NAMES_SHOWN)
    return (
        f'{path} holds more than tensors and plain data ({shown}), which may run code when it is '
        'read; if you trust its author, allow it with --trust-checkpoint (in a config: '
        'trust_checkpoint=True).'
    )


def damage(file: BinaryIO) -> str:
    """Compares a checkpoint with its own checksums.

    Args:
        file: The open file; it is rewound.

    Returns:
        What is wrong with it, empty where nothing was found. Files of torch before 1.6 hold no
        checksums, nor do those written under ``torch.serialization.set_crc32_options(False)``.
    """
    file.seek(0)
    start = file.read(16)
    size = file.seek(0, os.SEEK_END)
    try:
        if not start.startswith((_ZIP, _PICKLE)):
            return f'not a PyTorch checkpoint: it begins with {start!r}'
        if start.startswith(_ZIP):
            with zipfile.ZipFile(file) as archive:
                has_checksums = any(record.CRC for record in archive.infolist())
                record = archive.testzip() if has_checksums else None
            if record is not None:
                return f'damaged: the checksum of its record {record} does not match'
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        return f'not a PyTorch checkpoint or is truncated: {size:,} bytes, {str(error).lower()}'
    finally:
        file.seek(0)
    return ''


def _contains(file: BinaryIO, word: bytes) -> bool:
    """Whether the bytes stand anywhere in the file, so that no two readers of it can disagree."""
    try:
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            return content.find(word) >= 0
    except OSError:  # in memory
        file.seek(0)
        found = word in file.read()
        file.seek(0)
        return found


def read_meta(path: str) -> dict[str, Any]:
    """Reads what a checkpoint holds beside its tensors, without the time that those would take.

    Args:
        path: The file.

    Returns:
        Its contents; each tensor is ``None``. A file of torch before 1.6, whose tensors cannot be
        skipped, is read in full.

    Raises:
        RefusedObjects: If it holds more than tensors and plain data.
        Exception: Whatever a damaged file causes.
    """
    with open(path, 'rb') as opened:
        if opened.read(len(_PICKLE)) == _PICKLE:
            return load(path, 'cpu')
    refused: list[str] = []
    with zipfile.ZipFile(path) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith('/data.pkl'))
        with archive.open(name) as file:
            contents = restricted_pickle(refused, with_tensors=False).load(file)
    if refused:
        raise RefusedObjects(refused)
    return resolve(contents)


@contextmanager
def checkpoints_as_data(trust: bool = False) -> Iterator[None]:
    """Makes MMEngine read every checkpoint inside the block by :func:`load`.

    That holds for local files and for addresses of any scheme, in ``load_from``, ``resume`` and
    ``init_cfg``: all of them pass through ``CheckpointLoader.load_checkpoint``. The text in
    ``meta['config']`` is dropped, which MMEngine would run as Python on resuming.

    Args:
        trust: Whether to run the code that files may hold.
    """
    mmengine_load = CheckpointLoader.load_checkpoint

    def torch_load(file: Any, map_location: Any = None, **_: Any) -> Any:
        return load(file, map_location, trust)

    def load_checkpoint(filename: str, map_location: Any = None, logger: Any = 'current') -> Any:
        with _replaced(torch, 'load', torch_load):
            checkpoint = mmengine_load(filename, map_location, logger)
        meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
        if isinstance(meta, dict) and not trust:
            _drop_program(meta)
        return checkpoint

    with _replaced(CheckpointLoader, 'load_checkpoint', staticmethod(load_checkpoint)):
        yield


def _drop_program(meta: dict) -> None:
    """Drops a config that would be run, and keeps the number of processes, the one thing read."""
    found = re.search(
        r'^gpu_ids = (?:range\((\d+), (\d+)\)|\[([\d, \n]*)\])$', str(meta.pop('config', '')), re.M
    )
    if found:
        first, end, numbers = found.groups()
        count = int(end) - int(first) if end else len(re.findall(r'\d+', numbers))
        meta.setdefault('mmela', {}).setdefault('processes', count)


@contextmanager
def _without_variable(name: str | None) -> Iterator[None]:
    """Torch refuses another unpickler where this one asks for its own, which allows more."""
    before = os.environ.pop(name, None) if name else None
    try:
        yield
    finally:
        if name and before is not None:
            os.environ[name] = before


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
