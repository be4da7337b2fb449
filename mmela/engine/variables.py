"""Variables of a config: MMEngine uses them when it reads a file, and nothing reads them again."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmela.engine.dataset_configs import leaf_datasets
from mmela.engine.notices import tell

#: The parts of a config that say where data lies.
DATA_KEYS = (
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'val_evaluator',
    'test_evaluator',
    'tta_pipeline',
)
#: What MMEngine's runner looks up in the config beside its own arguments.
_LOOKED_UP = {
    'activation_checkpointing',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
}
#: As many keys as a warning names.
_NAMED_KEYS = 5


def warn_of_variable(cfg: Config, key: str) -> None:
    """Says that a variable of the config file is overridden in vain, and where its value stands.

    Args:
        cfg: The config before the option is merged.
        key: The key of the option.
    """
    value = cfg.get(key)
    # `data_root` is moved; a container may be a part that a hook of the person's own reads.
    if key == 'data_root' or not isinstance(value, (int, float, str)):
        return
    from mmengine.runner import Runner

    read = inspect.signature(Runner.__init__).parameters
    if key in read or key in _LOOKED_UP:
        return
    places = [place for name in read if name in cfg for place in _places(cfg[name], value, name)]
    places.sort(key=lambda place: place.split('.')[-1] != key)  # those of its own name first
    named = ', '.join(places[:_NAMED_KEYS]) + (', ...' if len(places) > _NAMED_KEYS else '')
    tell(
        f"--cfg-options {key}: '{key}' is a variable that was used when the config was read, and "
        'the runner does not read it'
        + (f'; keys that hold {value} are {named}.' if places else '; set the keys made from it.'),
        warning=True,
    )


def warn_of_idle_data_root(cfg: Config) -> None:
    """Says that the file's own ``data_root`` came too late for the data sets of its base.

    Args:
        cfg: The config, all options merged.
    """
    root, lying = cfg.get('data_root'), data_set_roots(cfg)
    if not isinstance(root, str) or not lying or is_root_used(cfg) or not _sets_data_root(cfg):
        return
    way = (
        f'--cfg-options data_root={root} moves them'
        if len(lying) == 1
        else 'set the data_root of each data set'
    )
    tell(
        f'data_root of {cfg.filename} is {root}, but its data sets lie in {", ".join(lying)}: a '
        f'base uses its variables when it is read; {way}.',
        warning=True,
    )


def data_set_roots(cfg: Config) -> list[str]:
    """The folders that the data sets of a config name, each once.

    Args:
        cfg: The config.

    Returns:
        Each ``data_root`` of a data set that is not empty, without a closing slash.
    """
    roots: dict[str, None] = {}
    for key in DATA_KEYS:
        loader = cfg.get(key)
        dataset = loader.get('dataset') if isinstance(loader, dict) else None
        for leaf, _ in leaf_datasets(dataset, key) if isinstance(dataset, dict) else ():
            if isinstance(leaf.get('data_root'), str) and leaf['data_root']:
                roots[leaf['data_root'].rstrip('/')] = None
    return list(roots)


def is_root_used(cfg: Config) -> bool:
    """Whether a path of the data sets or evaluators begins with ``cfg.data_root``.

    Args:
        cfg: A config with a top-level ``data_root``.

    Returns:
        True also where the variable is empty, which any path may begin with.
    """
    root = cfg.data_root.rstrip('/')
    texts = (text for key in DATA_KEYS if key in cfg for text in _strings(cfg[key]))
    return not root or any(text == root or text.startswith(f'{root}/') for text in texts)


def _sets_data_root(cfg: Config) -> bool:
    """Whether the file itself does it: what it inherits is its base's affair."""
    if not cfg.filename or not str(cfg.filename).endswith('.py'):
        return False
    try:
        statements = ast.parse(Path(cfg.filename).read_text(encoding='utf-8')).body
    except SyntaxError:  # before MMEngine fills in what stands in {{ }}
        return False
    return any(
        isinstance(target, ast.Name) and target.id == 'data_root'
        for statement in statements
        if isinstance(statement, ast.Assign)
        for target in statement.targets
    )


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, (dict, list, tuple)):
        for item in node.values() if isinstance(node, dict) else node:
            yield from _strings(item)


def _places(node: Any, value: Any, key: str) -> Iterator[str]:
    """The keys below a part of the config that hold a value."""
    if isinstance(node, (dict, list, tuple)):
        for name, item in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _places(item, value, f'{key}.{name}')
    elif type(node) is type(value) and node == value:
        yield key
