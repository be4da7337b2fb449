"""The figures of :mod:`mmela.analysis.complexity` as text, Markdown and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from mmela.analysis.complexity import Complexity

FORMATS = ('text', 'markdown', 'json')

_HEAD = [
    *('config', 'attention', 'layers', 'input', 'parameters', 'added', 'share'),
    *('FLOPs', 'added', 'share', 'elementwise'),
]
_NOTE = """
FLOPs are multiply-adds of one image, counted by MMEngine as in the toolboxes' own get_flops.py:
convolutions and matrix products in full, norms 2 (BN) or 5 (GN, LN) an element, resizing and
average pooling by element; other operators nothing. Those of the attention include its pooling,
1 an element, through whichever operator. None include the attention's products, sums and
activations of maps: 'elementwise', 1 an element."""


def format_table(results: Mapping[str, Complexity], style: str = 'text') -> str:
    """Formats figures as a table: a row a config, below a row for its baseline without attention.

    Args:
        results: The figures by name of the config.
        style: One of :data:`FORMATS`: ``'text'`` for the screen, ``'markdown'`` for a README,
            ``'json'`` for scripts: a list of objects with plain numbers.

    Returns:
        The table, without a newline at its end.
    """
    if style == 'json':
        objects = [{'config': name, **result.to_dict()} for name, result in results.items()]
        return json.dumps(objects, indent=2)
    rows = [_HEAD]
    baselines = set()  # several configs may have the same one
    for name, result in results.items():
        baseline = (result.shape, result.baseline_params, result.baseline_flops)
        if baseline not in baselines:
            baselines.add(baseline)
            title = 'without attention' if result.attention_layers else _link(name, style)
            rows.append(_baseline_row(title, result))
        if result.attention_layers:
            rows.append(_attention_row(_link(name, style), result))
    if style == 'markdown':
        rows.insert(1, ['---'] * len(_HEAD))
        return '\n'.join(f'| {" | ".join(row)} |' for row in rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        '  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]
    return '\n'.join([*lines, _NOTE])


def uncounted_notes(results: Mapping[str, Complexity]) -> list[str]:
    """Sentences on operators of an attention that are in none of the figures."""
    return [
        f'{os.path.basename(name)}: no figure contains these operators of its attention: '
        + ', '.join(f'{op} ({count}x)' for op, count in result.uncounted.items())
        + '.'
        for name, result in results.items()
        if result.uncounted
    ]


def _baseline_row(title: str, result: Complexity) -> list[str]:
    figures = [_size(result), _mega(result.baseline_params), '', '']
    return [title, 'none', '0', *figures, _giga(result.baseline_flops), '', '', '']


def _attention_row(title: str, result: Complexity) -> list[str]:
    layers = str(result.attention_layers)
    if result.attention_places != result.attention_layers:
        layers += f' in {result.attention_places} places'
    params, flops = result.attention_params, result.attention_flops
    return [
        *(title, result.attention, layers, _size(result)),
        *(_mega(result.params), f'{params:,}', _share(params / result.baseline_params)),
        *(_giga(result.flops), _mega(flops), _share(flops / result.baseline_flops)),
        _mega(result.attention_elementwise),
    ]


def _mega(number: int) -> str:
    return f'{number / 1e6:.3f} M'


def _giga(number: int) -> str:
    return f'{number / 1e9:.3f} G'


def _share(share: float) -> str:
    return '<0.01 %' if 0 < share < 0.00005 else f'{100 * share:.2f} %'


def _size(result: Complexity) -> str:
    return '{}x{}'.format(*result.shape)


def _link(name: str, style: str) -> str:
    file = os.path.basename(name)
    if style == 'text':
        return file.removesuffix('.py')
    return f'`{name}`' if '::' in name else f'[{file}]({file})'
