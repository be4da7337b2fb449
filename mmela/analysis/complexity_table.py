"""The figures of :mod:`mmela.analysis.complexity` as text, Markdown and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from mmela.analysis.complexity import Complexity

FORMATS = ('text', 'markdown', 'json')

_NOTE = """\
FLOPs are multiply-adds of one image, counted by MMEngine as in the toolboxes' own get_flops.py:
convolutions and matrix products in full, norms 2 (BN) or 5 (GN, LN) an element, resizing and
average pooling by element; other operators nothing."""
_NOTE_ON_ATTENTION = """\
Those of the attention include its pooling, 1 an element, through whichever operator. None include
the attention's products, sums and activations of maps: 'elementwise', 1 an element."""


def format_table(results: Mapping[str, Complexity], style: str = 'text') -> str:
    """Formats figures as a table with one row a config.

    Args:
        results: The figures by name of the config.
        style: One of :data:`FORMATS`: ``'text'`` for the screen, ``'markdown'`` for the README of a
            method, ``'json'`` for scripts: a list of objects with plain numbers.

    Returns:
        The table, without a newline at its end.
    """
    if style == 'json':
        rows = [{'config': name, **result.to_dict()} for name, result in results.items()]
        return json.dumps(rows, indent=2)
    if style == 'markdown':
        return _markdown(results)
    return _text(results)


def uncounted_notes(results: Mapping[str, Complexity]) -> Sequence[str]:
    """Sentences on operators of an attention that are in none of the figures.

    Args:
        results: The figures by name of the config.

    Returns:
        One sentence for each config that has any.
    """
    return [
        f'{_stem(name)}: no figure contains these operators of its attention: '
        + ', '.join(f'{op} ({count}x)' for op, count in result.uncounted.items())
        + '.'
        for name, result in results.items()
        if result.uncounted
    ]


def _text(results: Mapping[str, Complexity]) -> str:
    plain = [name for name, result in results.items() if not result.attention_layers]
    if len(plain) == len(results):
        rows = [['config', 'input', 'parameters', 'FLOPs']]
        for name, result in results.items():
            rows.append([_stem(name), _size(result), _mega(result.params), _giga(result.flops)])
        return '\n'.join([*_aligned(rows), '', _NOTE, 'There is no attention to compare with.'])
    rows = [
        ['', '', 'attention', 'parameters', '', '', '', 'FLOPs', '', '', '', ''],
        ['config', 'input', 'layers', *('baseline', 'attention', 'added', 'share') * 2]
        + ['elementwise'],
    ]
    rows += [[_stem(name), _size(result), *_cells(result)] for name, result in results.items()]
    lines = [*_aligned(rows), '', _NOTE, _NOTE_ON_ATTENTION]
    return '\n'.join(lines + [f'{_stem(name)} has no attention.' for name in plain])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the first column left-aligned and the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append('  '.join([first.ljust(widths[0]), *cells]).rstrip())
    return lines


def _cells(result: Complexity) -> list[str]:
    params, flops = result.baseline_params, result.baseline_flops
    if not result.attention_layers:
        return ['none', _mega(params), '', '', '', _giga(flops), '', '', '', '']
    return [
        _layers(result),
        *(_mega(params), _mega(result.params)),
        *(f'{result.attention_params:,}', _share(result.attention_params / params)),
        *(_giga(flops), _giga(result.flops)),
        *(_mega(result.attention_flops), _share(result.attention_flops / flops)),
        _mega(result.attention_elementwise),
    ]


def _markdown(results: Mapping[str, Complexity]) -> str:
    lines = [
        '| config | attention | layers | parameters | added | FLOPs | added |',
        '|---|---|---|---|---|---|---|',
    ]
    baselines = set()  # each has one row, above the first config that it belongs to
    for name, result in results.items():
        baseline = (result.shape, result.baseline_params, result.baseline_flops)
        if baseline not in baselines:
            baselines.add(baseline)
            first = 'without attention' if result.attention_layers else _link(name)
            params, flops = _mega(result.baseline_params), _giga(result.baseline_flops)
            lines.append(f'| {first} | none | | {params} | | {flops} | |')
        if result.attention_layers:
            lines.append(
                f'| {_link(name)} | {result.attention} | {_layers(result)} '
                f'| {_mega(result.params)} | {result.attention_params:,} '
                f'| {_giga(result.flops)} | {_mega(result.attention_flops)} |'
            )
    return '\n'.join(lines)


def _layers(result: Complexity) -> str:
    if result.attention_places == result.attention_layers:
        return str(result.attention_layers)
    return f'{result.attention_layers} in {result.attention_places} places'


def _mega(number: int) -> str:
    return f'{number / 1e6:.3f} M'


def _giga(number: int) -> str:
    return f'{number / 1e9:.3f} G'


def _share(share: float) -> str:
    return '<0.01 %' if 0 < share < 0.00005 else f'{100 * share:.2f} %'


def _size(result: Complexity) -> str:
    return '{}x{}'.format(*result.shape)


def _stem(name: str) -> str:
    return os.path.splitext(os.path.basename(name))[0]


def _link(name: str) -> str:
    file = os.path.basename(name)
    return f'`{name}`' if '::' in name else f'[{file}]({file})'
