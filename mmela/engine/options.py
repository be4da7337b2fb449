"""``--cfg-options``: parsing, merging, and what a person should be told about it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config, DictAction

from mmela.engine.notices import tell
from mmela.engine.variables import DATA_KEYS, data_set_roots, is_root_used, warn_of_variable
from mmela.errors import UserError, did_you_mean

#: What evaluators read, relative to the working directory.
EVALUATOR_PATHS = ('ann_file', 'seg_prefix')


def parse_options(options: Sequence[str] | None) -> dict[str, Any]:
    """Parses ``key=value`` words by MMEngine's own rules.

    Args:
        options: The words after ``--cfg-options``.

    Returns:
        Dotted keys and their values.

    Raises:
        UserError: If a word holds no ``=``.
    """
    options = list(options or ())
    for option in options:
        if '=' not in option.lstrip('='):
            raise UserError(
                f"--cfg-options takes key=value pairs, and '{option}' has no '='; a value that "
                'holds brackets or blanks stands in quotation marks with its key.'
            )
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    return parser.parse_args(['--cfg-options', *options] if options else []).cfg_options


def apply_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Merges options into a config, in place.

    A key that was not there before is legal, and MMEngine adds it without a word. Where it looks
    like a slip, a warning says so, and so does one where it is a variable of the config file
    that nothing reads again. ``data_root`` alone moves the whole data set: the name is a
    variable of the config file, and what was made from it there would otherwise stay as it was.

    Args:
        cfg: The config.
        options: Dotted keys and their values.

    Raises:
        UserError: If a key cannot be merged.
    """
    for key in options:
        _warn_of_slip(cfg, key)
        warn_of_variable(cfg, key)
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


def move_data_root(cfg: Config, new_root: str) -> None:
    """Replaces the folder ``cfg.data_root`` wherever data sets and evaluators were given it.

    Where it is given to none, the one folder that all data sets name is replaced.

    Args:
        cfg: A config with a top-level ``data_root``; changed in place.
        new_root: The folder that holds the data.
    """
    old = cfg.data_root.rstrip('/')
    new = new_root.rstrip('/') or '/'
    if not is_root_used(cfg) and len(roots := data_set_roots(cfg)) == 1:
        old = roots[0]
    for name in DATA_KEYS:
        if name in cfg and cfg.data_root:
            cfg[name] = _replace_root(cfg[name], old, new)
        elif name in cfg:
            _add_root(cfg[name], new)
    cfg.data_root = new_root


def _replace_root(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        for key in value:
            value[key] = _replace_root(value[key], old, new)
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(_replace_root(item, old, new) for item in value)
    if isinstance(value, str) and (value == old or value.startswith(old + '/')):
        return new + value[len(old) :]
    return value


def _add_root(value: Any, new: str) -> None:
    """Replaces an empty root: of data sets, and of the files of evaluators, which have none."""
    if isinstance(value, (list, tuple)):
        for item in value:
            _add_root(item, new)
    if not isinstance(value, dict):
        return
    if value.get('data_root') == '':
        value['data_root'] = new
    for name in EVALUATOR_PATHS:
        path = value.get(name)
        if 'data_root' not in value and isinstance(path, str) and path and '://' not in path:
            value[name] = os.path.join(new, path)  # an absolute path stays as it is
    for item in value.values():
        _add_root(item, new)


def _warn_of_slip(cfg: Config, key: str) -> None:
    for parent, name, names in _steps(cfg, key):
        if name in names:
            continue
        where = f"'{parent}'" if parent else 'the config'
        hint = did_you_mean(name, names)
        is_leaf = key == (f'{parent}.{name}' if parent else name)
        # A new last key is everyday use; it is doubtful where it resembles a name that is there.
        if not is_leaf or hint != '.':
            tell(
                f"--cfg-options {key}: {where} had no key '{name}', so it was added{hint}",
                warning=True,
            )
        return


def _steps(cfg: Config, key: str) -> Iterator[tuple[str, str, list[str]]]:
    """Each part of a dotted key with its parent's path and the names that the parent has."""
    node: Any = cfg
    parts = key.split('.')
    for depth, part in enumerate(parts):
        if isinstance(node, (list, tuple)):
            names = [str(index) for index in range(len(node))]
        elif isinstance(node, (Config, dict)):
            names = list(node.keys())
        else:
            return  # merging says it: a value that is no dict cannot hold keys
        yield '.'.join(parts[:depth]), part, names
        if part not in names:
            return
        node = node[int(part)] if isinstance(node, (list, tuple)) else node[part]
