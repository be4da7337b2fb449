"""What is compared: a base config and named entries that change it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmela.engine import load_config
from mmela.errors import UserError, did_you_mean

_KEYS = ('base', 'entries', 'cross', 'options', 'reference', 'metric', 'higher_is_better')


@dataclass(frozen=True)
class Spec:
    """A comparison.

    Attributes:
        base: The config that all entries change.
        entries: Options of each entry, as for ``--cfg-options``, by its name.
        reference: The entry that the others are compared with.
        metric: The number that decides, as ``test.py`` writes it to ``metrics.json``.
        options: Options of all entries.
        higher_is_better: Whether more of the metric is better.
    """

    base: str
    entries: dict[str, dict[str, Any]]
    reference: str
    metric: str
    options: dict[str, Any] = field(default_factory=dict)
    higher_is_better: bool = True

    def config(self, entry: str, seed: int, work_dir: str) -> Config:
        """The config of one run.

        Args:
            entry: The name of an entry.
            seed: Of the run.
            work_dir: Where it writes to.
        """
        options = {**self.options, **self.entries[entry], 'randomness.seed': seed}
        return load_config(self.base, deepcopy(options), work_dir)

    def setting(self, entry: str) -> dict[str, Any]:
        """What decides the results of an entry, as JSON keeps it.

        The reference is in it, as its initial weights are taken over.
        """
        setting = {
            'base': self.base,
            **self.options,
            **self.entries[entry],
            'reference': self.entries[self.reference],
        }
        plain: dict[str, Any] = json.loads(json.dumps(setting, default=str))
        return plain


def read_spec(path: str) -> Spec:
    """Reads a SPEC file.

    It is Python. ``base`` is a config, ``entries`` a dict of options by name, ``metric`` what
    ``test.py`` calls the number that decides. Optional are ``options`` for all entries,
    ``reference`` (default: the first entry), ``higher_is_better``, and ``cross``: a dict of axes,
    each a dict of options by name, whose every combination becomes an entry. Names that start with
    an underscore are the file's own.

    .. code-block:: python

        base = 'configs/det/yolox/yolox_nano-ela-t_bccd.py'
        options = {'data_root': 'data/bccd'}
        metric = 'coco/bbox_mAP'
        entries = {
            'none': {'model.backbone.plugins': None},
            'ELA-T': {},
            'ELA-T scaled': {'model.backbone.plugins.0.cfg.residual': 'scaled'},
        }

    Args:
        path: The file.

    Returns:
        The comparison; every entry's config was read once.

    Raises:
        UserError: If the file or an entry is invalid.
    """
    if not Path(path).is_file():
        raise UserError(f'there is no file {path}; expected a SPEC, see docs/compare.md.')
    try:
        values: Any = Config.fromfile(path)._cfg_dict
    except Exception as error:
        raise UserError(
            f'the SPEC {path} cannot be read ({type(error).__name__}: {error}).'
        ) from error
    for key in values:
        if key not in _KEYS and not key.startswith('_'):
            raise UserError(
                f'{path}: expected the names {", ".join(_KEYS)}, got {key!r}'
                + did_you_mean(key, _KEYS)
            )
    for key in ('base', 'metric'):
        if not isinstance(values.get(key), str):
            raise UserError(f'{path}: expected {key} to be a string, got {values.get(key)!r}.')
    options = _mapping(values.get('options'), f'{path}: options')
    entries = _options_by_name(values.get('entries'), f'{path}: entries')
    for name, entry in _cross(values.get('cross'), f'{path}: cross'):
        if not name or name in entries:
            raise UserError(
                f'{path}: cross: expected each combination to have a name of its own, got {name!r} '
                f'{"twice" if name else "for one"}; rename the options of an axis.'
            )
        entries[name] = entry
    if len(entries) < 2:
        raise UserError(
            f'{path}: expected at least two entries to compare, got {len(entries)}; one of them is '
            "usually 'none': {'model.backbone.plugins': None}."
        )
    reference = values.get('reference', next(iter(entries)))
    if reference not in entries:
        raise UserError(
            f'{path}: expected reference to be one of {", ".join(entries)}, got {reference!r}'
            + did_you_mean(reference, entries)
        )
    by_slug: dict[str, str] = {}
    for name in entries:
        other = by_slug.setdefault(slug(name), name)
        if other != name:
            raise UserError(
                f'{path}: expected entries whose names differ in their letters and digits, which '
                f'name their folders; got {other!r} and {name!r}.'
            )
    spec = Spec(
        base=values['base'],
        entries=entries,
        reference=reference,
        metric=values['metric'],
        options=options,
        higher_is_better=bool(values.get('higher_is_better', True)),
    )
    for name in entries:
        spec.config(name, 0, 'work_dirs')
    return spec


def slug(name: str) -> str:
    """A name as a folder: letters, digits and dashes."""
    return re.sub(r'[^a-z0-9.]+', '-', name.lower()).strip('-') or 'entry'


def _mapping(given: Any, label: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise UserError(
            f"{label}: expected a dict such as {{'none': {{'model.backbone.plugins': None}}}} for "
            f"entries and axes, {{'data_root': 'data/mine'}} for options, got {given!r}."
        )
    return dict(given)


def _options_by_name(given: Any, label: str) -> dict[str, dict[str, Any]]:
    named = _mapping(given, label)
    return {name: _mapping(options, f'{label}[{name!r}]') for name, options in named.items()}


def _cross(given: Any, label: str) -> Iterator[tuple[str, dict[str, Any]]]:
    axes = {
        name: _options_by_name(axis, f'{label}[{name!r}]')
        for name, axis in _mapping(given, label).items()
    }
    for combination in itertools.product(*(axis.items() for axis in axes.values())) if axes else ():
        name = ' '.join(part for part, _ in combination if part)
        yield name, {k: v for _, options in combination for k, v in options.items()}
