"""The one grammar of a ``plugins`` list: parse, check, build.

It is the toolboxes' own grammar, so that a list can move from one network to another:

.. code-block:: python

    plugins=[dict(cfg=dict(type='mmela.ELA', variant='T'), position='after_stage',
                  stages=(False, True, True, True))]

``stages`` may be left out and then means all of them. ``cfg`` may hold a ``postfix`` that tells
two layers of one type at one position apart. Several plugins at one position are chained in the
order of the list.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mmcv.cnn.bricks.plugin import infer_abbr
from mmengine.registry import MODELS, Registry
from torch import nn

from mmela.errors import ConfigError, did_you_mean

ENTRY_KEYS = ('cfg', 'position', 'stages')


class Plugin(NamedTuple):
    """One checked entry of a ``plugins`` list."""

    cfg: dict[str, Any]  # type and arguments of the layer, and perhaps its postfix
    position: str
    stages: tuple[bool, ...]
    label: str  # where it stands, for messages: "plugins[0] of mmela.CSPDarknet"


def parse_plugins(
    plugins: Sequence[Mapping[str, Any]] | None,
    *,
    owner: str,
    positions: Sequence[str],
    num_stages: int,
) -> list[Plugin]:
    """Checks a ``plugins`` list.

    Args:
        plugins: The list as it stands in a config; None and an empty list mean no plugins.
        owner: Who takes it, for messages, such as ``'mmela.CSPDarknet'``.
        positions: The positions that the owner has.
        num_stages: How many stages the owner has.

    Returns:
        The entries in the order of the list, ``stages`` filled in.

    Raises:
        ConfigError: Naming the entry, what is allowed, and the nearest name if one is misspelt.
    """
    if plugins is None:
        return []
    if isinstance(plugins, (str, Mapping)) or not isinstance(plugins, Sequence):
        raise ConfigError(
            f'plugins of {owner} must be a list of dict(cfg=..., position=...), and '
            f'{_short(plugins)} was given.'
        )
    return [
        _parse_entry(entry, f'plugins[{i}] of {owner}', positions, num_stages)
        for i, entry in enumerate(plugins)
    ]


def _parse_entry(entry: Any, label: str, positions: Sequence[str], num_stages: int) -> Plugin:
    if not isinstance(entry, Mapping):
        raise ConfigError(
            f'{label} must be dict(cfg=dict(type=...), position=...), and '
            f'{_short(entry)} was given.'
        )
    for key in entry:
        if key not in ENTRY_KEYS:
            hint = (
                f'; write it inside cfg, as cfg=dict(..., {key}=...).'
                if key in ('type', 'postfix')
                else did_you_mean(key, ENTRY_KEYS)
            )
            raise ConfigError(
                f"{label} has a key '{key}', and an entry takes {', '.join(ENTRY_KEYS)}" + hint
            )
    for key in ('cfg', 'position'):
        if key not in entry:
            raise ConfigError(
                f"{label} lacks '{key}': write dict(cfg=dict(type=...), position='{positions[0]}')."
            )
    cfg, position = entry['cfg'], entry['position']
    if not isinstance(cfg, Mapping) or cfg.get('type') is None:
        raise ConfigError(
            f"{label}: cfg must be a dict with the layer's type, such as dict(type='mmela.ELA'), "
            f'and {_short(cfg)} was given.'
        )
    if position not in positions:
        raise ConfigError(
            f'{label}: there is no position {position!r}; the positions are '
            f'{", ".join(positions)}' + did_you_mean(position, positions)
        )
    return Plugin(dict(cfg), position, _parse_stages(entry, label, num_stages), label)


def _parse_stages(entry: Mapping[str, Any], label: str, num_stages: int) -> tuple[bool, ...]:
    stages = entry.get('stages')
    if stages is None:
        return (True,) * num_stages
    example = f'({", ".join(["False"] + ["True"] * (num_stages - 1))})'
    is_flags = isinstance(stages, (tuple, list)) and all(isinstance(s, bool) for s in stages)
    if not is_flags or len(stages) != num_stages:
        raise ConfigError(
            f'{label}: stages must hold one bool for each of the {num_stages} stages, such as '
            f'{example}, and {_short(stages)} was given.'
        )
    return tuple(stages)


def build_plugin(plugin: Plugin, in_channels: int) -> tuple[str, nn.Module]:
    """Builds the layer of one entry.

    Args:
        plugin: The entry.
        in_channels: Channels of the map that the layer will be given.

    Returns:
        Its name, the abbreviation of its type and its postfix, and the layer.

    Raises:
        ConfigError: If the type is unknown or does not take the arguments.
    """
    arguments = dict(plugin.cfg)
    layer_type = arguments.pop('type')
    postfix = arguments.pop('postfix', '')
    layer_class = _resolve(layer_type, plugin.label)
    if 'in_channels' in arguments:
        raise ConfigError(
            f'{plugin.label}: in_channels is the width of the place, {in_channels} here, and is '
            'not for the config to say; leave it out.'
        )
    if not re.fullmatch(r'\w*', str(postfix)) or postfix is None:
        raise ConfigError(
            f'{plugin.label}: postfix becomes part of a name and takes letters, digits and '
            f'underscores, and {postfix!r} was given.'
        )
    arguments['in_channels'] = in_channels
    try:
        inspect.signature(layer_class).bind(**arguments)
    except TypeError as error:
        allowed = list(inspect.signature(layer_class).parameters)
        unknown = [name for name in arguments if name not in allowed]
        hint = did_you_mean(unknown[0], allowed) if unknown else '.'
        raise ConfigError(
            f'{plugin.label}: {layer_class.__name__} takes {", ".join(allowed)}, and {error}' + hint
        ) from error
    try:
        layer = layer_class(**arguments)
    except ConfigError as error:
        raise ConfigError(f'{plugin.label}: {error}') from error
    # Layers of others refuse a value in ways of their own.
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f'{plugin.label}: {layer_class.__name__} does not take these arguments '
            f'({type(error).__name__}: {error}).'
        ) from error
    return f'{infer_abbr(layer_class)}{postfix}', layer


def _resolve(layer_type: Any, label: str) -> Any:
    """The class of a plugin: looked up in the scope in force, then in the root registry."""
    if inspect.isclass(layer_type):
        return layer_type
    found, names = None, set()
    try:
        with MODELS.switch_scope_and_registry(None) as registry:
            names = _names_in(registry)
            found = registry.get(layer_type)
    except ConfigError as error:
        raise ConfigError(f'{label}: {error}') from error
    except Exception:  # MMEngine answers some unknown names with None and some by raising
        found = None
    if found is None:
        raise ConfigError(
            f'{label}: no layer is registered as {layer_type!r} (those of mmela are written with '
            "their prefix, as 'mmela.ELA')" + did_you_mean(layer_type, names)
        )
    return found


def _names_in(registry: Registry | None) -> set[str]:
    """What a registry and its parents have registered."""
    return set() if registry is None else {*registry.module_dict, *_names_in(registry.parent)}


def add_plugins(module: nn.Module, plugins: Iterable[Plugin], in_channels: int) -> list[str]:
    """Builds the layers of some entries and makes them submodules.

    Args:
        module: Where they go; a ``Sequential`` runs them behind what it holds.
        plugins: The entries, in the order in which they are to run.
        in_channels: Channels of the map that they will be given.

    Returns:
        The names under which they were added.

    Raises:
        ConfigError: If a name is taken, or as :func:`build_plugin` says.
    """
    names = []
    for plugin in plugins:
        name, layer = build_plugin(plugin, in_channels)
        if hasattr(module, name):
            raise ConfigError(
                f"{plugin.label}: its place holds '{name}' already; give the second one a postfix, "
                f"cfg=dict(type={plugin.cfg['type']!r}, ..., postfix='2')."
            )
        module.add_module(name, layer)
        names.append(name)
    return names


def at(plugins: Iterable[Plugin], position: str, stage: int | None = None) -> list[Plugin]:
    """The entries of one place.

    Args:
        plugins: Checked entries.
        position: A position.
        stage: Index of a stage; None means any.

    Returns:
        Those of that position and stage, in the order of the list.
    """
    return [
        plugin
        for plugin in plugins
        if plugin.position == position and (stage is None or plugin.stages[stage])
    ]


def warn_if_frozen(owner: str, frozen_stages: int, places: Mapping[str, Sequence[Plugin]]) -> None:
    """Says once that freezing early stages freezes the new layers in them too.

    Args:
        owner: Whose stages are frozen, for the message.
        frozen_stages: The owner's argument of that name.
        places: The frozen stages by name, with the plugins that they hold.
    """
    holding = [name for name, plugins in places.items() if plugins]
    if holding:
        warnings.warn(
            f'frozen_stages={frozen_stages} of {owner} also freezes the plugins in '
            f'{", ".join(holding)}: unless a checkpoint holds them, they stay as they were '
            'initialised. Leave these stages out with `stages`, or freeze fewer.',
            stacklevel=3,
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + '...'
