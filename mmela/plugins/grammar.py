"""The grammar of a ``plugins`` list: what an entry may say, and how it is checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mmela.errors import ConfigError, did_you_mean

ENTRY_KEYS = ('cfg', 'position', 'stages')


class Plugin(NamedTuple):
    """One checked entry of a ``plugins`` list, at one position."""

    cfg: dict[str, Any]  # type and arguments of the layer, and optionally its postfix
    position: str
    stages: tuple[bool, ...]
    label: str  # where the entry stands, for messages: "plugins[0] of mmela.CSPDarknet"
    share: bool = False  # whether one layer serves all places of equal width


class _Rules(NamedTuple):
    """What a network allows in its ``plugins``; the arguments of :func:`parse_plugins`."""

    positions: Sequence[str]
    num_stages: int | Mapping[str, int]
    available: Mapping[str, tuple[Sequence[bool], str]]
    allow_several: bool
    allow_share: bool

    def count(self, position: str) -> int:
        """The number of bools in ``stages`` at a position."""
        return self.num_stages if isinstance(self.num_stages, int) else self.num_stages[position]


def parse_plugins(
    plugins: Sequence[Mapping[str, Any]] | None,
    *,
    owner: str,
    positions: Sequence[str],
    num_stages: int | Mapping[str, int],
    available: Mapping[str, tuple[Sequence[bool], str]] | None = None,
    allow_several: bool = False,
    allow_share: bool = False,
) -> list[Plugin]:
    """Parses a ``plugins`` list and checks it.

    Args:
        plugins: The list of a config; None and an empty list mean no plugins.
        owner: The network, for messages, such as ``'mmela.CSPDarknet'``.
        positions: The positions that the network has.
        num_stages: The number of stages, or of places for each position.
        available: For a position that not every stage has, a bool for each stage and the reason.
            The bools are the default of ``stages`` there.
        allow_several: Whether an entry may name several positions. It may not where the layers
            of two positions would get the same name.
        allow_share: Whether an entry may say ``share=True``.

    Returns:
        The entries in the order of the list, with ``stages`` filled in. An entry with several
        positions becomes one entry for each of them, all with the same label.

    Raises:
        ConfigError: If an entry is invalid. The message names the entry, what is allowed, and the
            nearest name for a misspelt one.
    """
    if plugins is None:
        return []
    if isinstance(plugins, (str, Mapping)) or not isinstance(plugins, Sequence):
        raise ConfigError(
            f'plugins of {owner}: expected a list of dict(cfg=..., position=...), '
            f'got {_short(plugins)}.'
        )
    rules = _Rules(positions, num_stages, available or {}, allow_several, allow_share)
    return [
        plugin
        for i, entry in enumerate(plugins)
        for plugin in _parse_entry(entry, f'plugins[{i}] of {owner}', rules)
    ]


def plugins_at(plugins: Iterable[Plugin], position: str, stage: int | None = None) -> list[Plugin]:
    """Selects the entries of one place.

    Args:
        plugins: Checked entries.
        position: A position.
        stage: Index of a stage; None means any.

    Returns:
        The entries at that position and stage, in the order of the list.
    """
    return [
        plugin
        for plugin in plugins
        if plugin.position == position and (stage is None or plugin.stages[stage])
    ]


def _parse_entry(entry: Any, label: str, rules: _Rules) -> list[Plugin]:
    if not isinstance(entry, Mapping):
        raise ConfigError(
            f'{label}: expected dict(cfg=dict(type=...), position=...), got {_short(entry)}.'
        )
    _check_keys(entry, label, rules)
    cfg, share = entry['cfg'], entry.get('share', False)
    if not isinstance(cfg, Mapping) or cfg.get('type') is None:
        raise ConfigError(
            f"{label}: expected cfg to be a dict with the layer's type, such as "
            f"dict(type='mmela.ELA'), got {_short(cfg)}."
        )
    if not isinstance(share, bool):
        raise ConfigError(f'{label}: expected share to be True or False, got {_short(share)}.')
    positions = _parse_positions(entry['position'], label, rules)
    stages = _parse_stages(entry.get('stages'), positions, label, rules)
    return [Plugin(dict(cfg), p, stages[p], label, share) for p in positions]


def _check_keys(entry: Mapping[str, Any], label: str, rules: _Rules) -> None:
    allowed = (*ENTRY_KEYS, 'share') if rules.allow_share else ENTRY_KEYS
    for key in entry:
        if key not in allowed:
            if key in ('type', 'postfix'):
                hint = f'; write it inside cfg, as cfg=dict(..., {key}=...).'
            elif key == 'share':
                hint = '; leave share out, as layers cannot be shared in this network.'
            else:
                hint = did_you_mean(key, allowed)
            raise ConfigError(f"{label}: expected the keys {', '.join(allowed)}, got '{key}'{hint}")
    for key in ('cfg', 'position'):
        if key not in entry:
            raise ConfigError(
                f"{label}: the key '{key}' is missing; write dict(cfg=dict(type=...), "
                f"position='{rules.positions[0]}')."
            )


def _parse_positions(given: Any, label: str, rules: _Rules) -> list[str]:
    allowed = ', '.join(rules.positions)
    several = isinstance(given, (tuple, list)) and all(isinstance(p, str) for p in given)
    if several and not rules.allow_several:
        raise ConfigError(
            f'{label}: expected one position, got {_short(given)}; write an entry for each '
            "position, with different postfixes, cfg=dict(type=..., postfix='2')."
        )
    positions = list(given) if several else [given]
    for position in positions:
        if position not in rules.positions:
            raise ConfigError(
                f'{label}: expected position to be one of {allowed}, got {position!r}'
                + did_you_mean(position, rules.positions)
            )
    if not positions or len(set(positions)) < len(positions):
        raise ConfigError(
            f'{label}: expected one position or several different ones of {allowed}, '
            f'got {_short(given)}.'
        )
    return positions


def _parse_stages(
    given: Any, positions: Sequence[str], label: str, rules: _Rules
) -> dict[str, tuple[bool, ...]]:
    counts = {position: rules.count(position) for position in positions}
    if given is not None and len(set(counts.values())) > 1:
        numbers = ' and '.join(f'{count} at {position}' for position, count in counts.items())
        raise ConfigError(
            f'{label}: stages cannot be given for several positions of different length '
            f'({numbers}); leave stages out, or write an entry for each position.'
        )
    found = {}
    for position, count in counts.items():
        everywhere = ((True,) * count, '')
        available, reason = rules.available.get(position, everywhere)
        stages = available if given is None else given
        is_flags = isinstance(stages, (tuple, list)) and all(isinstance(s, bool) for s in stages)
        if not is_flags or len(stages) != count:
            example = (False, *[True] * (count - 1)) if count > 1 else (True,)
            places = 'stages' if isinstance(rules.num_stages, int) else f'places of {position}'
            raise ConfigError(
                f'{label}: expected stages to hold a bool for each of the {count} {places}, '
                f'such as {example}, got {_short(given)}.'
            )
        beyond = any(s and not a for s, a in zip(stages, available, strict=True))
        if beyond or not any(available):
            raise ConfigError(
                f'{label}: {position} exists at the stages {tuple(available)} ({reason}), '
                f'got stages={_short(given)}; leave stages out, or write False at the others.'
            )
        found[position] = tuple(stages)
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + '...'
