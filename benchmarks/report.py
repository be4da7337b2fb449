"""Results as CSV and as Markdown tables."""

from __future__ import annotations

import csv
import shlex
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.layers import LayerResult, Settings
from benchmarks.machine import Machine
from benchmarks.methods import COPY
from benchmarks.model import STEP, NetworkResult
from mmela.errors import UserError

LAYER_COLUMNS = (
    *('group', 'network', 'map', 'variant', 'dtype', 'memory_format', 'buffers', 'method'),
    *('forward_us', 'forward_copies', 'training_us', 'training_copies'),
    *('host_forward_us', 'host_training_us', 'map_bytes'),
    *('forward_peak_bytes', 'training_peak_bytes', 'kept_bytes', 'note'),
    *('device', 'threads', 'versions'),
)
NETWORK_COLUMNS = (
    *('config', 'pass', 'batch', 'height', 'width', 'dtype', 'pairs', 'attention_places'),
    'recompute',
    *('plain_ms', 'attention_ms', 'time_ratio', 'time_ratio_low', 'time_ratio_high'),
    *('plain_bytes', 'attention_bytes', 'memory_ratio', 'attention_output_bytes'),
    *('memory_to_bound', 'device', 'threads', 'versions'),
)
_LAYER_NOTE = """\
Times are medians of interleaved samples, the smallest of the repeats; 'copies' is the ratio to
copying the same map into a buffer, timed in the same rounds. Memory is in maps of the input's size:
the peak of a forward pass without gradients and of forward + backward (output and gradients
included), and what a forward pass saves for backward in addition to its input and output."""
_TIME_NOTE = 'Time ratios are medians over the pairs, with their 95 % interval.'
_MEMORY_NOTE = (
    "Memory is the peak, including parameters and optimizer; 'to bound' is its ratio to the peak "
    'without attention plus the outputs of the attention layers, which the next layers must keep.'
)


def layer_rows(
    results: Sequence[LayerResult], settings: Settings, machine: Machine
) -> list[dict[str, Any]]:
    """Converts results of layers to rows with :data:`LAYER_COLUMNS`.

    Args:
        results: Results of one or more maps, the copy of each map first.
        settings: How they were measured.
        machine: Where they were measured.
    """
    rows = []
    for result in results:
        if result.method == COPY:
            copy = result
        case = result.case
        map_bytes = settings.dtype.itemsize
        for side in case.map:
            map_bytes *= side
        # The copy is timed with both passes; it has no backward.
        is_copy = result.method == COPY
        values = (
            *(case.group, case.network, case.name, case.variant),
            str(settings.dtype).removeprefix('torch.'),
            'channels_last' if settings.channels_last else 'contiguous',
            *(case.buffers, result.method),
            *(_scaled(result.forward, 1e6), ratio(result.forward, copy.forward)),
            *(_scaled(result.training, 1e6), ratio(result.training, copy.training)),
            *(_scaled(result.host_forward, 1e6), _scaled(result.host_training, 1e6), map_bytes),
            *(result.forward_peak, result.training_peak, result.kept),
            'the copy, timed with either pass' if is_copy else result.note,
            *machine,
        )
        row = dict(zip(LAYER_COLUMNS, values, strict=True))
        rows.append({name: _cell(value) for name, value in row.items()})
    return rows


def network_rows(results: Sequence[NetworkResult], machine: Machine) -> list[dict[str, Any]]:
    """Converts results of networks to rows with :data:`NETWORK_COLUMNS`, two per network.

    Args:
        results: Results of one or more networks.
        machine: Where they were measured.
    """
    rows = []
    for result in results:
        for each in result.passes:
            values = (
                *(result.config, each.name, result.batch, *result.shape, result.dtype),
                *(result.pairs, result.places, result.recompute),
                *(_cell(_scaled(seconds, 1e3)) for seconds in (each.plain, each.attention)),
                *(('', '', '') if each.ratio is None else (round(v, 4) for v in each.ratio)),
                *(each.plain_bytes, each.attention_bytes, round(each.memory_ratio, 4)),
                *(each.output_bytes, _cell(_rounded(each.memory_to_bound))),
                *machine,
            )
            rows.append(dict(zip(NETWORK_COLUMNS, values, strict=True)))
    return rows


def layer_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Formats rows of layers as Markdown, one table per map.

    Args:
        rows: From :func:`layer_rows`.
    """
    parts = []
    for key in dict.fromkeys((row['group'], row['network'], row['map']) for row in rows):
        mine = [row for row in rows if (row['group'], row['network'], row['map']) == key]
        first = mine[0]
        title = (
            f'{first["network"]} ({first["group"]}): {first["map"]} {first["dtype"]}, '
            f'{first["memory_format"]}, ELA-{first["variant"]}, {first["buffers"]} buffer(s)'
        )
        head = ['method', 'forward us', 'copies', 'forward + backward us', 'copies']
        on_gpu = any(row['host_forward_us'] != '' for row in mine)
        head += ['host us', 'host us, both'] if on_gpu else []
        head += ['peak, forward', 'peak, both', 'kept']
        missing = [row for row in mine if row['note'].startswith('not measured')]
        body = [_layer_cells(row, on_gpu) for row in mine if row not in missing]
        notes = [f'{row["method"]}: {row["note"]}.' for row in missing]
        parts.append('\n\n'.join([f'### {title}', _markdown(head, body), *notes]))
    return '\n\n'.join([*parts, _LAYER_NOTE])


def _layer_cells(row: Mapping[str, Any], on_gpu: bool) -> list[str]:
    times = ['forward_us', 'forward_copies', 'training_us', 'training_copies']
    times += ['host_forward_us', 'host_training_us'] if on_gpu else []
    memory = ['forward_peak_bytes', 'training_peak_bytes', 'kept_bytes']
    maps = ['' if row[name] == '' else f'{row[name] / row["map_bytes"]:.2f}' for name in memory]
    return [row['method'], *(str(row[name]) for name in times), *maps]


def network_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Formats rows of networks as a Markdown table.

    Args:
        rows: From :func:`network_rows`.
    """
    timed = any(row['time_ratio'] != '' for row in rows)
    head = ['config', 'input', 'dtype', 'pass']
    head += ['without ms', 'with ms', 'time ratio', '95 %'] if timed else []
    head += ['without MB', 'with MB', 'memory ratio', 'to bound']
    body = [
        [
            Path(row['config']).stem,
            f'{row["batch"]} x {row["height"]} x {row["width"]}',
            row['dtype'],
            row['pass'] + ', recompute' * (row['recompute'] and row['pass'] == STEP),
            *(_time_cells(row) if timed else ()),
            f'{row["plain_bytes"] / 1e6:.1f}',
            f'{row["attention_bytes"] / 1e6:.1f}',
            f'{row["memory_ratio"]:.3f}',
            str(row['memory_to_bound']),
        ]
        for row in rows
    ]
    note = f'{_TIME_NOTE} {_MEMORY_NOTE}' if timed else _MEMORY_NOTE
    return f'{_markdown(head, body)}\n\n{textwrap.fill(note, 100)}'


def _time_cells(row: Mapping[str, Any]) -> list[str]:
    return [
        str(row['plain_ms']),
        str(row['attention_ms']),
        f'{row["time_ratio"]:.3f}',
        f'{row["time_ratio_low"]:.3f} to {row["time_ratio_high"]:.3f}',
    ]


def heading(machine: Machine) -> str:
    """The device, the versions and the command line that made the results."""
    script = Path(sys.argv[0])
    name = '/'.join(script.parts[script.parts.index('tools') :]) if 'tools' in script.parts else ''
    words = [name or script.name, *sys.argv[1:]]
    return (
        f'{machine.device}, {machine.threads} CPU thread(s), {machine.versions}\n\n'
        f'`python {shlex.join(words)}`'
    )


def write(out: str, stem: str, rows: Sequence[Mapping[str, Any]], text: str) -> Path:
    """Writes a CSV file, and the text to a Markdown file of the same name.

    Args:
        out: The CSV file, or a folder for it.
        stem: Name of the file in a folder, without its suffix.
        rows: One or more rows.
        text: The text for the terminal.

    Returns:
        The path of the CSV file.

    Raises:
        UserError: If a file cannot be written.
    """
    path = Path(out) if out.endswith('.csv') else Path(out, f'{stem}.csv')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open('w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator='\n')
            writer.writeheader()
            writer.writerows(rows)
        path.with_suffix('.md').write_text(text + '\n', encoding='utf-8')
    except OSError as error:
        raise UserError(f'--out {out} cannot be written: {error.strerror}.') from error
    return path


def ratio(value: float | None, unit: float | None) -> float | None:
    """A value as a multiple of a unit, to three decimals; None if either is missing."""
    return None if value is None or not unit else round(value / unit, 3)


def _cell(value: Any) -> Any:
    return '' if value is None else value


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else round(value * factor, 2)


def _markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(row[column]) for row in (head, *body)) for column in range(len(head))]
    lines = []
    for row in (head, ['-' * width for width in widths], *body):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append(f'| {" | ".join(cells)} |'.rstrip())
    return '\n'.join(lines)
