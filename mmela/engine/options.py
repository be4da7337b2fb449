"""``--cfg-options``: parsing, merging, and warnings about options without the expected effect."""

from __future__ import annotations

import argparse
import ast
import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from mmela.engine.dataset_configs import dataset_roots, is_root_used, move_data_root
from mmela.engine.log import log_once
from mmela.errors import UserError, did_you_mean, listed

#: What MMEngine's runner reads from the config beside its own arguments.
_RUNNER_KEYS = (
    'activation_checkpointing',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
)
#: How many keys a warning names.
_KEYS_SHOWN = 5


def parse_options(options: Sequence[str] | None) -> dict[str, Any]:
    """Parses ``key=value`` words by MMEngine's rules.

    Returns:
        Dotted keys and their values.

    Raises:
        UserError: If a word holds no ``=``.
    """
    options = list(options or ())
    for option in options:
        if '=' not in option.lstrip('='):
            raise UserError(
                f"--cfg-options expects key=value pairs, got '{option}', which has no '='; quote a "
                'pair whose value holds brackets or blanks.'
            )
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    return parser.parse_args(['--cfg-options', *options] if options else []).cfg_options


def apply_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Merges options into a config, in place.

    MMEngine adds a key that was not there before without a message. A warning says so where the key
    looks like a typo, and so does one where it is a variable of the config file that nothing
    reads again. ``data_root`` alone moves the whole data set, although it is such a variable.

    Raises:
        UserError: If a key cannot be merged.
    """
    for key in options:
        _warn_of_typo(cfg, key)
        _warn_of_variable(cfg, key)
    if isinstance(options.get('data_root'), str) and isinstance(cfg.get('data_root'), str):
        move_data_root(cfg, options['data_root'])
    try:
        cfg.merge_from_dict(dict(options))
    except (TypeError, KeyError) as error:
        reason = str(error.args[0]) if error.args else str(error)
        raise UserError(
            f'--cfg-options {" ".join(f"{k}={v}" for k, v in options.items())} does not fit the '
            f'config: {reason.splitlines()[0]}'
        ) from error


def warn_of_unused_data_root(cfg: Config) -> None:
    """Warns if a config file sets ``data_root`` after its base has used the base's own."""
    root, roots = cfg.get('data_root'), dataset_roots(cfg)
    if not isinstance(root, str) or not roots or is_root_used(cfg) or not _sets_data_root(cfg):
        return
    fix = (
        f'--cfg-options data_root={root} moves them'
        if len(roots) == 1
        else 'set the data_root of each data set'
    )
    log_once(
        f'data_root of {cfg.filename} is {root}, but its data sets are in {", ".join(roots)}, '
        f'because a base uses its variables when it is read; {fix}.',
        logging.WARNING,
    )


def _sets_data_root(cfg: Config) -> bool:
    """Whether the file itself assigns ``data_root``, rather than one of its bases."""
    if not cfg.filename or not str(cfg.filename).endswith('.py'):
        return False
    try:
        statements = ast.parse(Path(cfg.filename).read_text(encoding='utf-8')).body
    except SyntaxError:  # a file with {{ }}, which MMEngine substitutes first
        return False
    return any(
        isinstance(target, ast.Name) and target.id == 'data_root'
        for statement in statements
        if isinstance(statement, ast.Assign)
        for target in statement.targets
    )


def _warn_of_typo(cfg: Config, key: str) -> None:
    """Warns of a key that is new and resembles one that exists, or whose parent is new."""
    node: Any = cfg
    *parents, leaf = key.split('.')
    for depth, name in enumerate([*parents, leaf]):
        if isinstance(node, (list, tuple)):
            names = [str(index) for index in range(len(node))]
        elif isinstance(node, (Config, dict)):
            names = list(node.keys())
        else:
            return  # merging raises: a value that is not a dict cannot hold keys
        if name not in names:
            if depth == 0 and name in _read_by_runner():
                return  # such as randomness.seed, which few configs have
            hint = did_you_mean(name, names)
            if depth < len(parents) or hint != '.':
                where = f"'{'.'.join(parents[:depth])}'" if depth else 'the config'
                log_once(
                    f"--cfg-options {key}: {where} had no key '{name}', so it was added{hint}",
                    logging.WARNING,
                )
            return
        node = node[int(name)] if isinstance(node, (list, tuple)) else node[name]


def _warn_of_variable(cfg: Config, key: str) -> None:
    """Warns of a variable that the runner does not read, and names the keys made from it."""
    value = cfg.get(key)
    # `data_root` is moved; a container may be read by a hook of the user's own.
    if key == 'data_root' or not isinstance(value, (int, float, str)):
        return
    read = _read_by_runner()
    if key in read:
        return
    keys = [k for name in read if name in cfg for k in _keys_with(cfg[name], value, name)]
    keys.sort(key=lambda k: k.split('.')[-1] != key)  # those of the same name first
    fix = f'set the keys with its value {value}: {listed(keys, _KEYS_SHOWN)}'
    log_once(
        f"--cfg-options {key}: '{key}' is a variable that was used when the config was read, and "
        f'the runner does not read it; {fix if keys else "set the keys made of it"}.',
        logging.WARNING,
    )


def _read_by_runner() -> list[str]:
    from mmengine.runner import Runner

    return [*inspect.signature(Runner.__init__).parameters, *_RUNNER_KEYS]


def _keys_with(node: Any, value: Any, key: str) -> Iterator[str]:
    """The keys below a part of a config that hold a value."""
    if isinstance(node, (dict, list, tuple)):
        for name, item in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _keys_with(item, value, f'{key}.{name}')
    elif type(node) is type(value) and node == value:
        yield key
