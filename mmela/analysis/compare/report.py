"""A comparison as Markdown, LaTeX, CSV and a figure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from mmela.analysis.compare import figures
from mmela.analysis.compare.cell import command_of, folders_of
from mmela.analysis.compare.spec import Spec
from mmela.analysis.compare.speed import read_speed
from mmela.analysis.compare.statistics import Comparison, decimals_of
from mmela.analysis.compare.tables import (
    Results,
    comparisons,
    cost_table,
    metrics_table,
    validations_table,
)
from mmela.analysis.complexity import Complexity


def write_report(
    spec: Spec,
    results: Results,
    spec_file: str,
    out: str,
    costs: Mapping[str, Complexity] | None = None,
    unit: str = 'step',
) -> list[str]:
    """Writes the report of the results that are there.

    Args:
        spec: The comparison.
        results: Results by entry and seed.
        spec_file: The file of the comparison, which the commands name.
        out: Folder of the comparison; its ``speed.json`` is reported too.
        costs: Parameters and FLOPs by entry.
        unit: What a training counts, epoch or iteration.

    Returns:
        The files: ``report.md``, ``report.tex``, ``results.csv``, ``differences.png`` and
        ``curves.png``.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    table = comparisons(spec, results, spec.metric)
    curves = figures.learning_curves(spec, results)
    files = {
        'report.md': markdown(spec, table)
        + notes(spec, table, results, out)
        + levelling(spec, curves, unit, decimals_of(table.values()))
        + validations_table(spec, results)
        + metrics_table(spec, results)
        + cost_table(spec, costs or {}, read_speed(spec, out))
        + commands(spec, results, spec_file),
        'report.tex': latex(spec, table),
        'results.csv': as_csv(results),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding='utf-8')
    written = [str(folder / name) for name in files]
    if any(c is not None and not math.isnan(c.low) for c in table.values()):
        figures.differences_figure(spec, table).savefig(folder / 'differences.png', dpi=150)
        written.append(str(folder / 'differences.png'))
    if curves:
        figures.curves_figure(spec, curves, unit).savefig(folder / 'curves.png', dpi=150)
        written.append(str(folder / 'curves.png'))
    return written


def markdown(spec: Spec, table: Mapping[str, Comparison | None]) -> str:
    """The table, and a sentence for each entry."""
    lines = [
        f'# {spec.metric}, `{spec.base}`',
        '',
        f'| entry | seeds | mean | standard deviation | difference to {spec.reference} '
        '| 95 % interval | seeds to settle it |',
        '|---|---|---|---|---|---|---|',
    ]
    for entry, cells in _rows(spec, table).items():
        lines.append(f'| {entry} | ' + ' | '.join(cells) + ' |')
    lines.append('')
    decimals = decimals_of(table.values())
    for entry, found in table.items():
        if entry != spec.reference:
            said = 'no result yet'
            if found is not None:
                said = found.sentence(spec.higher_is_better, decimals)
            lines.append(f'- {entry}: {said}.')
    return '\n'.join(lines) + '\n'


def notes(
    spec: Spec, table: Mapping[str, Comparison | None], results: Results, out: str | Path
) -> str:
    """What the table means, and what is missing in it."""
    lines = [
        '',
        'Paired over seeds: for one seed all entries have the same order of the data, the same '
        'augmentation, and the same initial weights in all that the networks share. The interval '
        'is that of a paired t test, for these test images: it does not cover their choice. "Seeds '
        'to settle it" is how many would make it exclude zero in four of five comparisons, if mean '
        'and scatter are the true ones.',
        '',
        'Each interval misses the truth once in twenty times, and one of several entries does so '
        'more often. Fix the number of seeds before the start: to look after each seed and to stop '
        'at a result finds one where there is none. Confirm a winner on fresh seeds.',
    ]
    reference = table[spec.reference]
    for entry, found in table.items():
        if found is None and entry in results:
            lines += ['', f'{entry} has no seed in common with {spec.reference}.']
        if found is not None and reference is not None and found.seeds < reference.seeds:
            decimals = decimals_of(table.values())
            lines += [
                '',
                f'{entry} has {found.seeds} of the {reference.seeds} seeds of {spec.reference}; '
                f'over these the mean of {spec.reference} is {found.reference_mean:.{decimals}f}.',
            ]
    for key in ('processor', 'torch', 'threads'):
        kinds = {str(run[key]) for runs in results.values() for run in runs.values() if key in run}
        if len(kinds) > 1:
            lines += ['', f'The runs differ in {key}: {", ".join(sorted(kinds))}.']
    missing = [
        f'{entry} {folder.name}'
        for entry in spec.entries
        for seed, folder in folders_of(out, entry).items()
        if seed not in results.get(entry, {})
    ]
    if missing:
        lines += [
            '',
            f'Begun and without a result: {", ".join(missing)}. If such a run failed, what it '
            'would have shown is missing in the means; its run.log says why.',
        ]
    return '\n'.join(lines) + '\n'


def levelling(spec: Spec, curves: figures.Curves, unit: str, decimals: int) -> str:
    """How much the reference still changed at the end: whether the trainings were long enough."""
    runs = curves.get(spec.reference, [])
    steps = sorted(set.intersection(*map(set, runs))) if runs else []
    if len(steps) < 2:
        return ''
    before, last = steps[-2:]
    change = round(sum(run[last] - run[before] for run in runs) / len(runs), decimals) + 0.0
    return (
        f'\nBetween its last two validations, at {unit}s {before} and {last}, {spec.reference} '
        f'changed by {change:+.{decimals}f} on average.\n'
    )


def commands(spec: Spec, results: Results, spec_file: str) -> str:
    """The command of each run."""
    lines = [
        '',
        'The commands train again, in another folder.',
        '',
        f'| entry | seed | {spec.metric} | command |',
        '|---|---|---|---|',
    ]
    for entry, by_seed in results.items():
        for seed, result in sorted(by_seed.items()):
            command = command_of(spec_file, entry, seed, 'again')
            if 'threads' in result:  # their number changes the last digits
                command = f'OMP_NUM_THREADS={result["threads"]} {command}'
            lines.append(f'| {entry} | {seed} | {result["metric"]:.6g} | `{command}` |')
    return '\n'.join(lines) + '\n'


def latex(spec: Spec, table: Mapping[str, Comparison | None]) -> str:
    """The table for a paper, with booktabs."""
    rows = []
    for entry, cells in _rows(spec, table).items():
        seeds, mean, deviation, difference, interval, _ = cells
        mean = f'${mean} \\pm {deviation}$' if deviation else mean
        difference = f'${difference}$' if difference else ''
        interval = ' to '.join(f'${end}$' for end in interval.split(' to ')) if interval else ''
        rows.append(f'{_escaped(entry)} & {seeds} & {mean} & {difference} & {interval} \\\\')
    return '\n'.join(
        [
            '% \\usepackage{booktabs}; mean and standard deviation over seeds, paired differences',
            '\\begin{tabular}{lrrrr}',
            '\\toprule',
            f'& seeds & {_escaped(spec.metric)} & difference & 95\\,\\% interval \\\\',
            '\\midrule',
            *rows,
            '\\bottomrule',
            '\\end{tabular}',
            '',
        ]
    )


def as_csv(results: Results) -> str:
    """Every metric of every run, a row each."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(['entry', 'seed', 'metric', 'value'])
    for entry, by_seed in results.items():
        for seed, result in sorted(by_seed.items()):
            for name, value in result['metrics'].items():
                writer.writerow([entry, seed, name, value])
    return text.getvalue()


def _rows(spec: Spec, table: Mapping[str, Comparison | None]) -> dict[str, list[str]]:
    decimals = decimals_of(table.values())
    rows = {}
    for entry, found in table.items():
        if found is None:
            rows[entry] = ['0', '', '', '', '', '']
            continue
        deviation = '' if math.isnan(found.deviation) else f'{found.deviation:.{decimals}f}'
        rows[entry] = [str(found.seeds), f'{found.mean:.{decimals}f}', deviation, '', '', '']
        if entry != spec.reference:
            needed = '' if math.isnan(found.low) else str(found.seeds_needed or 'over 1000')
            difference = f'{found.difference:+.{decimals}f}'
            rows[entry][3:] = [difference, found.interval(decimals), needed]
    return rows


def _escaped(text: str) -> str:
    words = {'\\': '/', '^': r'\^{}', '~': r'\textasciitilde{}'}
    return ''.join(words.get(c, f'\\{c}' if c in '&%$#_{}' else c) for c in text)
