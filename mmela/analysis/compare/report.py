"""A comparison as Markdown, LaTeX, CSV and a figure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmela.analysis.compare.cell import command_of, folder_of, validations_of
from mmela.analysis.compare.spec import Spec
from mmela.analysis.compare.speed import read_speed
from mmela.analysis.compare.statistics import Comparison, compare
from mmela.analysis.complexity import Complexity

Results = Mapping[str, Mapping[int, Mapping[str, Any]]]


def write_report(
    spec: Spec,
    results: Results,
    spec_file: str,
    out: str,
    costs: Mapping[str, Complexity] | None = None,
) -> list[str]:
    """Writes the report of the results that are there.

    Args:
        spec: The comparison.
        results: Results by entry and seed.
        spec_file: The file of the comparison, for the commands.
        out: Folder of the comparison; its ``speed.json`` is reported too.
        costs: Parameters and FLOPs by entry.

    Returns:
        The files: ``report.md``, ``report.tex``, ``results.csv``, ``differences.png``.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    table = comparisons(spec, results)
    files = {
        'report.md': markdown(spec, table, results, spec_file)
        + cost_table(spec, costs or {}, read_speed(out)),
        'report.tex': latex(spec, table),
        'results.csv': as_csv(results),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding='utf-8')
    written = [str(folder / name) for name in files]
    if any(c is not None and not math.isnan(c.low) for c in table.values()):
        differences_figure(spec, table).savefig(folder / 'differences.png', dpi=150)
        written.append(str(folder / 'differences.png'))
    curves = learning_curves(spec, out)
    if curves:
        curves_figure(spec, curves).savefig(folder / 'curves.png', dpi=150)
        written.append(str(folder / 'curves.png'))
    return written


def comparisons(spec: Spec, results: Results) -> dict[str, Comparison | None]:
    """Each entry beside the reference, over the seeds that both have."""
    values = {
        entry: {seed: float(result['metric']) for seed, result in by_seed.items()}
        for entry, by_seed in results.items()
    }
    reference = values.get(spec.reference, {})
    return {entry: compare(values.get(entry, {}), reference) for entry in spec.entries}


def markdown(
    spec: Spec,
    table: Mapping[str, Comparison | None],
    results: Results,
    spec_file: str,
) -> str:
    """The table, a sentence for each entry, and the command of each run."""
    lines = [
        f'# {spec.metric}, `{spec.base}`',
        '',
        f'| entry | seeds | mean | standard deviation | difference to {spec.reference} '
        '| 95 % interval | seeds to settle it |',
        '|---|---|---|---|---|---|---|',
    ]
    for entry, found in table.items():
        lines.append(f'| {entry} | ' + ' | '.join(_cells(spec, entry, found)) + ' |')
    lines.append('')
    for entry, found in table.items():
        if entry != spec.reference:
            said = 'no result yet' if found is None else found.sentence(spec.higher_is_better)
            lines.append(f'- {entry}: {said}.')
    lines += [
        '',
        'Paired over seeds: for one seed all entries have the same order of the data, the same '
        'augmentation, and the same initial weights in all that the networks share. The interval '
        'is that of a paired t test; "seeds to settle it" is how many would make it exclude zero '
        'if mean and scatter stayed as they are. The commands train again, in another folder.',
        '',
        '| entry | seed | ' + spec.metric + ' | command |',
        '|---|---|---|---|',
    ]
    for entry, by_seed in results.items():
        for seed, result in sorted(by_seed.items()):
            command = command_of(spec_file, entry, seed, 'again')
            lines.append(f'| {entry} | {seed} | {result["metric"]:.6g} | `{command}` |')
    return '\n'.join(lines) + '\n'


def cost_table(
    spec: Spec, costs: Mapping[str, Complexity], speed: Mapping[str, Mapping[str, float | None]]
) -> str:
    """Parameters, FLOPs, and the ratios of time and memory to the reference, as far as known."""
    if not costs and not speed:
        return ''
    columns = ('training step', 'inference', 'peak memory')
    lines = [
        '',
        '| entry | parameters | FLOPs | ' + ' | '.join(columns) + ' |',
        '|---|---|---|---|---|---|',
    ]
    for entry in spec.entries:
        counts, row = costs.get(entry), speed.get(entry, {})
        cells = [f'{counts.params:,}', f'{counts.flops / 1e6:,.1f} M'] if counts else ['', '']
        ratios = (row.get(key) for key in ('step', 'inference', 'peak memory'))
        cells += ['' if ratio is None else f'{ratio:.3f}' for ratio in ratios]
        lines.append(f'| {entry} | ' + ' | '.join(cells) + ' |')
    if costs:
        height, width = next(iter(costs.values())).shape
        lines += ['', f'FLOPs are multiply-adds of one image of {height} x {width} pixels.']
    if speed:
        lines += ['', f'Times and memory are ratios to {spec.reference}, medians of pairs.']
    else:
        lines += ['', 'Times and memory: not measured; `--speed` measures them.']
    return '\n'.join(lines) + '\n'


def latex(spec: Spec, table: Mapping[str, Comparison | None]) -> str:
    """The table for a paper, with booktabs."""
    rows = []
    for entry, found in table.items():
        cells = _cells(spec, entry, found)
        mean = f'${cells[1]} \\pm {cells[2]}$' if cells[2] else cells[1]
        rows.append(f'{_escaped(entry)} & {cells[0]} & {mean} & {cells[3]} & {cells[4]} \\\\')
    return '\n'.join(
        [
            '% \\usepackage{booktabs}',
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


def differences_figure(spec: Spec, table: Mapping[str, Comparison | None]) -> Any:
    """The differences to the reference with their intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = {
        entry: found
        for entry, found in table.items()
        if found is not None and entry != spec.reference and not math.isnan(found.low)
    }
    figure = Figure(figsize=(5.5, 0.8 + 0.4 * len(shown)), layout='constrained')
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    for row, found in enumerate(shown.values()):
        half = found.high - found.difference
        ax.errorbar(found.difference, row, xerr=half, fmt='o', color='black', capsize=3)
    ax.axvline(0, color='grey', linewidth=0.8)
    ax.set_yticks(range(len(shown)), [f'{e} ({f.seeds} seeds)' for e, f in shown.items()])
    ax.invert_yaxis()
    ax.set_xlabel(f'{spec.metric}: difference to {spec.reference}, 95 % interval')
    return figure


def learning_curves(spec: Spec, out: str) -> dict[str, list[dict[int, float]]]:
    """The metric of each run's validations, by step.

    Args:
        spec: The comparison.
        out: Folder of the comparison.

    Returns:
        For each entry with validations, one dict per seed.
    """
    curves: dict[str, list[dict[int, float]]] = {}
    for entry in spec.entries:
        for folder in sorted(folder_of(out, entry, 0).parent.glob('seed*')):
            points = {
                int(step): metrics[spec.metric]
                for step, metrics in validations_of(folder).items()
                if spec.metric in metrics
            }
            if len(points) > 1:
                curves.setdefault(entry, []).append(points)
    return curves


def curves_figure(spec: Spec, curves: Mapping[str, list[dict[int, float]]]) -> Any:
    """Learning curves: the mean over seeds, and a band of one standard deviation."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout='constrained')
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    for entry, runs in curves.items():
        steps = sorted(set.intersection(*(set(run) for run in runs)))
        values = np.array([[run[step] for step in steps] for run in runs])
        mean, spread = values.mean(0), values.std(0, ddof=1) if len(runs) > 1 else 0 * values[0]
        (line,) = ax.plot(steps, mean, label=f'{entry} ({len(runs)} seeds)')
        ax.fill_between(steps, mean - spread, mean + spread, color=line.get_color(), alpha=0.2)
    ax.set_xlabel('epoch or iteration')
    ax.set_ylabel(spec.metric)
    ax.legend()
    return figure


def _cells(spec: Spec, entry: str, found: Comparison | None) -> list[str]:
    if found is None:
        return ['0', '', '', '', '', '']
    deviation = '' if math.isnan(found.deviation) else f'{found.deviation:.4g}'
    if entry == spec.reference:
        return [str(found.seeds), f'{found.mean:.4g}', deviation, '', '', '']
    interval = '' if math.isnan(found.low) else f'{found.low:+.4g} to {found.high:+.4g}'
    needed = '' if math.isnan(found.low) else str(found.seeds_needed or 'over 1000')
    return [
        str(found.seeds),
        f'{found.mean:.4g}',
        deviation,
        f'{found.difference:+.4g}',
        interval,
        needed,
    ]


def _escaped(text: str) -> str:
    for character in '\\&%$#_{}':
        text = text.replace(character, f'\\{character}' if character != '\\' else '/')
    return text
