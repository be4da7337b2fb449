"""The grammar of a ``plugins`` list: what an entry may say, and what a mistake is answered with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mmela.errors import ConfigError, did_you_mean

ENTRY_KEYS = ('cfg', 'position', 'stages')


class Plugin(NamedTuple):
    """One checked entry of a ``plugins`` list, at one position."""

    cfg: dict[str, Any]  # type and arguments of the layer, and perhaps its postfix
    position: str
    stages: tuple[bool, ...]
    label: str  # where it stands, for messages: "plugins[0] of mmela.CSPDarknet"
    share: bool = False  # whether one layer serves the places of equal width


class _Rules(NamedTuple):
    """What an owner takes; the arguments of :func:`parse_plugins`."""

    positions: Sequence[str]
    num_stages: int | Mapping[str, int]
    default_stages: Mapping[str, Sequence[bool]]
    allow_several: bool
    allow_share: bool

    def count(self, position: str) -> int:
        """How many stages a position counts."""
        return self.num_stages if isinstance(self.num_stages, int) else self.num_stages[position]


def parse_plugins(
    plugins: Sequence[Mapping[str, Any]] | None,
    *,
    owner: str,
    positions: Sequence[str],
    num_stages: int | Mapping[str, int],
    default_stages: Mapping[str, Sequence[bool]] | None = None,
    allow_several: bool = False,
    allow_share: bool = False,
) -> list[Plugin]:
    """Checks a ``plugins`` list.

    Args:
        plugins: The list as it stands in a config; None and an empty list mean no plugins.
        owner: Who takes it, for messages, such as ``'mmela.CSPDarknet'``.
        positions: The positions that the owner has.
        num_stages: How many stages the owner has; where each position counts places of its own,
            how many by position.
        default_stages: What ``stages`` means at a position when it is left out, if not all.
        allow_several: Whether an entry may name several positions. It may not where the layers
            of two positions would get the same name.
        allow_share: Whether an entry may say ``share=True``.

    Returns:
        The entries in the order of the list, ``stages`` filled in; an entry with several
        positions becomes one for each, with the same label.

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
    rules = _Rules(positions, num_stages, default_stages or {}, allow_several, allow_share)
    return [
        plugin
        for i, entry in enumerate(plugins)
        for plugin in _parse_entry(entry, f'plugins[{i}] of {owner}', rules)
    ]


def _parse_entry(entry: Any, label: str, rules: _Rules) -> list[Plugin]:
    if not isinstance(entry, Mapping):
        raise ConfigError(
            f'{label} must be dict(cfg=dict(type=...), position=...), and '
            f'{_short(entry)} was given.'
        )
    _check_keys(entry, label, rules)
    cfg, share = entry['cfg'], entry.get('share', False)
    if not isinstance(cfg, Mapping) or cfg.get('type') is None:
        raise ConfigError(
            f"{label}: cfg must be a dict with the layer's type, such as dict(type='mmela.ELA'), "
            f'and {_short(cfg)} was given.'
        )
    if not isinstance(share, bool):
        raise ConfigError(f'{label}: share must be True or False, and {_short(share)} was given.')
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
                hint = ': its places cannot share a layer; leave it out.'
            else:
                hint = did_you_mean(key, allowed)
            raise ConfigError(
                f"{label} has a key '{key}', and an entry takes {', '.join(allowed)}" + hint
            )
    for key in ('cfg', 'position'):
        if key not in entry:
            raise ConfigError(
                f"{label} lacks '{key}': write dict(cfg=dict(type=...), "
                f"position='{rules.positions[0]}')."
            )


def _parse_positions(given: Any, label: str, rules: _Rules) -> list[str]:
    several = isinstance(given, (tuple, list)) and all(isinstance(p, str) for p in given)
    if several and not rules.allow_several:
        raise ConfigError(
            f'{label} takes one position, and {_short(given)} was given: write an entry for each, '
            "with a postfix of its own, cfg=dict(type=..., postfix='2')."
        )
    positions = list(given) if several else [given]
    for position in positions:
        if position not in rules.positions:
            raise ConfigError(
                f'{label}: there is no position {position!r}; the positions are '
                f'{", ".join(rules.positions)}' + did_you_mean(position, rules.positions)
            )
    if not positions or len(set(positions)) < len(positions):
        raise ConfigError(
            f'{label}: position must name one position or several different ones of '
            f'{", ".join(rules.positions)}, and {_short(given)} was given.'
        )
    return positions


def _parse_stages(
    given: Any, positions: Sequence[str], label: str, rules: _Rules
) -> dict[str, tuple[bool, ...]]:
    counts = {position: rules.count(position) for position in positions}
    if given is None:
        return {p: tuple(rules.default_stages.get(p, (True,) * n)) for p, n in counts.items()}
    if len(set(counts.values())) > 1:
        places = ' and '.join(f'{p} has {_counted(n, "place")}' for p, n in counts.items())
        raise ConfigError(
            f'{label}: stages cannot be meant for all of its positions, as {places}; leave stages '
            'out, or write an entry for each position.'
        )
    count = counts[positions[0]]
    is_flags = isinstance(given, (tuple, list)) and all(isinstance(flag, bool) for flag in given)
    if not is_flags or len(given) != count:
        example = (False, *[True] * (count - 1)) if count > 1 else (True,)
        where = '' if isinstance(rules.num_stages, int) else f' of {positions[0]}'
        noun = 'stage' if isinstance(rules.num_stages, int) else 'place'
        raise ConfigError(
            f'{label}: stages must hold one bool for each of the {_counted(count, noun)}{where}, '
            f'such as {example}, and {_short(given)} was given.'
        )
    return {position: tuple(given) for position in positions}


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


def _counted(number: int, noun: str) -> str:
    return f'{number} {noun}' if number == 1 else f'{number} {noun}s'


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + '...'
