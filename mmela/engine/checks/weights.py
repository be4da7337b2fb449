"""Looks whether the weights of a run can be had, before the network is built."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from mmengine.config import Config

from mmela.engine.checkpoints import read_checkpoint
from mmela.engine.notices import tell
from mmela.errors import UserError, did_you_mean, local_rank

#: Seconds without an answer after which a download is given up.
_TIMEOUT = 30.0


class Weights(NamedTuple):
    """Weights that a config asks for."""

    key: str  #: where the config says so
    path: str  #: local path or address
    switch: str  #: the option that runs without them


def check_weights(cfg: Config, training: bool) -> None:
    """Checks that the weights of a run are there, and downloads those that are addresses.

    One process a machine does it; the others find the download in the cache later.

    Args:
        cfg: The config.
        training: Whether pretrained weights of the model's parts are used too; a test takes
            everything from its checkpoint.

    Raises:
        UserError: If weights are missing, cannot be fetched, or are no checkpoint.
    """
    if local_rank(cfg.get('launcher', 'none')) != 0:
        return
    for weights in required_weights(cfg, training):
        if _is_address(weights.path):
            _fetch(weights)
        else:
            trust = cfg.get('trust_checkpoint', False)
            check_checkpoint(weights.path, weights.key, weights.switch, trust)


def required_weights(cfg: Config, training: bool) -> list[Weights]:
    """The weights that a config asks for.

    Args:
        cfg: The config.
        training: Whether those of the model's parts count too.

    Returns:
        Each with its config key and the option that runs without it.
    """
    wanted: list[Weights] = []
    if cfg.get('load_from'):
        if not training:
            wanted.append(Weights('the checkpoint', cfg.load_from, ''))
        elif cfg.get('resume'):
            wanted.append(Weights('the checkpoint to resume', cfg.load_from, ''))
        else:
            wanted.append(Weights('load_from', cfg.load_from, 'load_from=None'))
    if training:
        wanted += _of_model(cfg.model, 'model')
    return wanted


def check_checkpoint(
    path: str, name: str = 'the checkpoint', switch: str = '', trust: bool = False
) -> dict[str, Any]:
    """Checks that a local file is a checkpoint.

    Args:
        path: The file.
        name: What it is, for the message: a config key.
        switch: The option that runs without it, if there is one.
        trust: Whether to run the code that the file may hold.

    Returns:
        What it holds.

    Raises:
        UserError: If there is no such file; it is damaged or something else; or it holds more
            than tensors and plain data, and is not trusted.
    """
    without = f'; to run without these weights: --cfg-options {switch}' if switch else ''
    path = os.path.expanduser(path)
    if not os.path.exists(path):
        raise UserError(f'{name}: there is no file {path}{without}{_files_nearby(path)}')
    return read_checkpoint(path, name, switch, trust)


def _of_model(node: Any, key: str) -> Iterator[Weights]:
    """Every ``init_cfg`` of type Pretrained and every ``pretrained`` below a config node."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _of_model(item, f'{key}.{index}')
    if not isinstance(node, dict):
        return
    for name, value in node.items():
        where = f'{key}.{name}'
        if name == 'pretrained' and isinstance(value, str):
            yield Weights(where, value, f'{where}=None')
        elif name == 'init_cfg':
            entries = value if isinstance(value, (list, tuple)) else [value]
            for entry in entries:
                if isinstance(entry, dict) and entry.get('type') == 'Pretrained':
                    yield Weights(f'{where}.checkpoint', entry['checkpoint'], f'{where}=None')
        else:
            yield from _of_model(value, where)


def _is_address(path: str) -> bool:
    return '://' in path


def _fetch(weights: Weights) -> None:
    try:
        with _socket_timeout(_TIMEOUT):
            _load(weights.path)
    except UserError as error:
        raise UserError(f'{weights.key}: {error}') from error
    # No network, no torchvision, an unknown name, a damaged cache: all have the same way out.
    except Exception as error:
        ways = 'try again with a connection'
        if weights.switch:
            ways += (
                f', give a file that you have: --cfg-options {weights.key}=FILE, or run without '
                f'them: --cfg-options {weights.switch}'
            )
        raise UserError(
            f'{weights.key}: the weights {weights.path} cannot be fetched ({_cause(error)}); '
            f'{ways}.'
        ) from error
    tell(f'{weights.key}: {weights.path} is there.')


def _load(path: str) -> Any:
    from mmengine.runner import CheckpointLoader

    return CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _cause(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ['']
    if isinstance(error, ImportError) and error.name == 'torchvision':
        return 'torchvision knows where they are, and it is not installed'
    if isinstance(error, KeyError):
        return f'the name {lines[0]} is not known'
    first_sentence = lines[0].split('. ')[0].rstrip('.')
    return f'{type(error).__name__}: {first_sentence}'


def _files_nearby(path: str) -> str:
    folder = os.path.dirname(path) or '.'
    if not os.path.isdir(folder):
        return '.'
    files = sorted(name for name in os.listdir(folder) if name.endswith(('.pth', '.pt')))
    hint = did_you_mean(os.path.basename(path), files)
    if hint == '.' and files:
        return f'; {folder} holds {", ".join(files[:5])}.'
    return hint
