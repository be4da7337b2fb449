"""Checks that the weights of a run can be loaded, before the network is built."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from mmela.engine.checkpoints.reading import read_checkpoint
from mmela.engine.log import log_once
from mmela.errors import UserError, did_you_mean, local_rank

#: Seconds without an answer after which a download is given up.
_TIMEOUT = 30.0


class Weights(NamedTuple):
    """Weights that a config names."""

    key: str  #: config key, or what the command line gave
    path: str  #: local path or address
    switch: str  #: the option that runs without them


def check_weights(cfg: Config, splits: Sequence[str]) -> None:
    """Checks the weights of a run, and downloads those that are addresses.

    One process a machine does it; the others find the download in the cache later. Pretrained
    weights of the model's parts are used in training alone.

    Raises:
        UserError: If weights are missing, cannot be downloaded, or are not a checkpoint.
    """
    if local_rank(cfg.get('launcher', 'none')) != 0:
        return
    for weights in required_weights(cfg, 'train' in splits):
        if '://' in weights.path:
            _download(weights)
        else:
            trust = cfg.get('trust_checkpoint', False)
            check_checkpoint(weights.path, weights.key, weights.switch, trust)


def required_weights(cfg: Config, training: bool) -> list[Weights]:
    """The weights that a config names.

    Returns:
        Each with its config key and the option that runs without it.
    """
    named = Weights('load_from', cfg.get('load_from'), 'load_from=None')
    if not training or cfg.get('resume'):
        what = 'the checkpoint to resume' if training else 'the checkpoint'
        named = Weights(what, cfg.get('load_from'), '')
    parts = _of_model(cfg.model, 'model') if training else ()
    return [weights for weights in (named, *parts) if weights.path]


def check_checkpoint(
    path: str, name: str = 'the checkpoint', switch: str = '', trust: bool = False
) -> dict[str, Any]:
    """Checks that a local file is a checkpoint.

    Args:
        path: The file.
        name: What the message calls it: a config key.
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
        raise UserError(f'{name}: there is no file {path}{without}{_suggestion(path)}')
    return read_checkpoint(path, name, switch, trust)


def _of_model(node: Any, key: str) -> Iterator[Weights]:
    """Every ``init_cfg`` of type Pretrained and every ``pretrained`` below a config node."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _of_model(item, f'{key}.{index}')
    elif isinstance(node, dict):
        for name, value in node.items():
            where = f'{key}.{name}'
            if name == 'pretrained' and isinstance(value, str):
                yield Weights(where, value, f'{where}=None')
            elif name == 'init_cfg':
                path = pretrained_checkpoint(value)
                if path is not None:
                    yield Weights(f'{where}.checkpoint', path, f'{where}=None')
            else:
                yield from _of_model(value, where)


def pretrained_checkpoint(init_cfg: Any) -> str | None:
    """Where an ``init_cfg`` takes weights from.

    Returns:
        The path or address of its entry of type Pretrained, if there is one.
    """
    for entry in init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]:
        if isinstance(entry, dict) and entry.get('type') == 'Pretrained':
            return entry.get('checkpoint')
    return None


def _download(weights: Weights) -> None:
    try:
        with _socket_timeout(_TIMEOUT):
            _load(weights.path)
    except UserError as error:
        raise UserError(f'{weights.key}: {error}') from error
    # No network, no torchvision, an unknown name, a damaged cache: all have the same fix.
    except Exception as error:
        fix = 'try again with a connection'
        if weights.switch:
            fix += (
                f', name a local file: --cfg-options {weights.key}=FILE, or run without '
                f'them: --cfg-options {weights.switch}'
            )
        raise UserError(
            f'{weights.key}: the weights {weights.path} cannot be downloaded ({_cause(error)}); '
            f'{fix}.'
        ) from error
    log_once(f'{weights.key}: {weights.path} is available.')


def _load(path: str) -> Any:
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
        return 'torchvision, which has the address, is not installed'
    if isinstance(error, KeyError):
        return f'the name {lines[0]} is not known'
    first_sentence = lines[0].split('. ')[0].rstrip('.')
    return f'{type(error).__name__}: {first_sentence}'


def _suggestion(path: str) -> str:
    """The end of a sentence on a missing file: the nearest checkpoint in its folder, or a few."""
    folder = os.path.dirname(path) or '.'
    if not os.path.isdir(folder):
        return '.'
    files = sorted(name for name in os.listdir(folder) if name.endswith(('.pth', '.pt')))
    hint = did_you_mean(os.path.basename(path), files)
    return f'; {folder} has {", ".join(files[:5])}.' if hint == '.' and files else hint
