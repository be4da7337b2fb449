"""Finds the checkpoint from which an interrupted run continues."""

from __future__ import annotations

import logging
import os
from glob import escape, glob
from typing import NamedTuple

from mmengine.config import Config

from mmela.engine.checkpoints.reading import damage, load, read_meta, refusal
from mmela.engine.checkpoints.unpickler import RefusedObjects
from mmela.engine.log import log_once
from mmela.errors import UserError


class _Candidate(NamedTuple):
    path: str
    has_optimizer: bool
    run: str  #: MMEngine's name of the run, which holds the second in which it began
    time: str
    epoch: int
    iteration: int


def use_resume(cfg: Config, resume: str) -> None:
    """Continues a run that was interrupted (``--resume``).

    Args:
        cfg: The config; changed in place. Where there is nothing to resume, it stays as it was,
            ``load_from`` included.
        resume: A checkpoint, or ``'auto'`` for the newest whole one in the work dir.

    Raises:
        UserError: If there are checkpoints and none of them is whole.
    """
    if resume == 'auto':
        newest = newest_checkpoint(cfg)
        if newest is None:
            cfg.resume = False
            log_once(f'--resume: there is no checkpoint in {cfg.work_dir} yet, a new run begins.')
            return
        resume = newest
    cfg.resume = True
    cfg.load_from = resume


def newest_checkpoint(cfg: Config) -> str | None:
    """The checkpoint of a work dir that was written last and is whole.

    The files themselves decide. ``last_checkpoint`` is a note that may be missing, empty or older
    than the newest file, or name a place where the folder was before; it counts only where the
    folder holds no checkpoint.

    Args:
        cfg: The config, with ``work_dir`` and perhaps ``trust_checkpoint``.

    Returns:
        The file, ``None`` if there is none at all.

    Raises:
        UserError: If there are checkpoints and none of them is whole.
    """
    folder = checkpoint_folder(cfg)
    trust = cfg.get('trust_checkpoint', False)
    unusable: dict[str, str] = {}
    candidates = []
    for path in checkpoints_in(folder):
        try:
            candidates += _candidate(path, trust)
        except UserError as error:
            unusable[path] = str(error)
    last_time: dict[str, str] = {}
    for candidate in candidates:
        last_time[candidate.run] = max(candidate.time, last_time.get(candidate.run, ''))
    # A run may have been started anew in the folder, so iterations alone say nothing.
    candidates.sort(key=lambda c: (c.has_optimizer, last_time[c.run], c.iteration), reverse=True)
    for candidate in candidates:
        with open(candidate.path, 'rb') as file:
            fault = damage(file)
        if fault:
            unusable[candidate.path] = f'{candidate.path} is {fault}.'
            continue
        for reason in unusable.values():
            log_once(f'--resume: skipped: {reason}', level=logging.WARNING)
        log_once(
            f'--resume: continues from {candidate.path} '
            f'(epoch {candidate.epoch}, iteration {candidate.iteration}).'
        )
        return candidate.path
    noted = _noted(cfg.work_dir)
    if noted and ('://' in noted or os.path.exists(noted)) and not unusable:
        log_once(f'--resume: continues from {noted}, which last_checkpoint names.')
        return noted
    if noted or unusable:
        reasons = [*unusable.values()] or [f'last_checkpoint names {noted}, which does not exist.']
        raise UserError(
            f'--resume: no usable checkpoint in {folder}: {" ".join(reasons)} Restore one, or '
            'start again without --resume.'
        )
    return None


def latest_checkpoint(work_dir: str) -> str | None:
    """The checkpoint that MMEngine saved last, also where the folder was moved since.

    Args:
        work_dir: The folder.

    Returns:
        The path that ``last_checkpoint`` names or the file of that name in the folder; ``None``
        without such a note.
    """
    noted = _noted(work_dir)
    moved = os.path.join(work_dir, os.path.basename(noted))
    return moved if os.path.isfile(moved) and not os.path.isfile(noted) else noted or None


def checkpoint_folder(cfg: Config) -> str:
    """Where the checkpoints of a run go.

    Args:
        cfg: The config.

    Returns:
        The work dir, or the folder below ``out_dir`` of the CheckpointHook.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if not hook.get('out_dir'):
        return cfg.work_dir
    return os.path.join(hook['out_dir'], os.path.basename(cfg.work_dir.rstrip(os.sep)))


def checkpoints_in(folder: str) -> list[str]:
    """The checkpoint files of a folder.

    Args:
        folder: A local folder, which may be missing.
    """
    paths = glob(os.path.join(escape(folder), '*.pth'))
    return sorted(path for path in paths if os.path.isfile(path))


def warn_of_occupied_work_dir(cfg: Config) -> None:
    """Warns where a new run would overwrite the checkpoints of another.

    Args:
        cfg: The config.
    """
    folder = checkpoint_folder(cfg)
    found = checkpoints_in(folder)
    if found and not cfg.get('resume'):
        newest = os.path.basename(max(found, key=os.path.getmtime))
        log_once(
            f'{folder} holds checkpoints of an earlier run (the newest is {newest}), and this run '
            'overwrites those of the same name. --resume continues the earlier run; --work-dir '
            'FOLDER keeps both.',
            level=logging.WARNING,
        )


def _candidate(path: str, trust: bool) -> list[_Candidate]:
    """The checkpoint of a training as a candidate; nothing for a file of weights alone."""
    try:
        contents = load(path, 'cpu', trust=True) if trust else read_meta(path)
    except RefusedObjects as error:
        raise UserError(refusal(path, error.names)) from error
    except UserError:
        raise
    # What a damaged file raises depends on where the damage is.
    except Exception as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        size = os.path.getsize(path)
        raise UserError(f'{path} is damaged or truncated: {size:,} bytes, {cause}.') from error
    meta = contents.get('meta') if isinstance(contents, dict) else None
    if not isinstance(meta, dict) or not {'epoch', 'iter'} <= set(meta):
        return []
    return [
        _Candidate(
            path,
            'optimizer' in contents,
            str(meta.get('experiment_name', '')),
            str(meta.get('time', '')),
            meta['epoch'],
            meta['iter'],
        )
    ]


def _noted(work_dir: str) -> str:
    """What ``last_checkpoint`` names."""
    try:
        with open(os.path.join(work_dir, 'last_checkpoint'), encoding='utf-8') as file:
            return file.read().strip().strip('\0')
    except (OSError, UnicodeDecodeError):
        return ''
