"""The tables of a report beside its first: validations, other metrics, costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mmela.analysis.compare.cell import value_of
from mmela.analysis.compare.spec import Spec
from mmela.analysis.compare.statistics import Comparison, compare, decimals_of
from mmela.analysis.complexity import Complexity

#: What a run left, by entry and seed.
Results = Mapping[str, Mapping[int, Mapping[str, Any]]]


def comparisons(spec: Spec, results: Results, metric: str) -> dict[str, Comparison | None]:
    """Each entry beside the reference, over the seeds that both have."""
    values: dict[str, dict[int, float]] = {}
    for entry, by_seed in results.items():
        for seed, result in by_seed.items():
            value = value_of(result, metric)
            if value is not None and not math.isnan(value):  # of a class without a pixel
                values.setdefault(entry, {})[seed] = value
    reference = values.get(spec.reference, {})
    return {entry: compare(values.get(entry, {}), reference) for entry in spec.entries}


def last_validations(spec: Spec, results: Results) -> dict[str, Comparison | None]:
    """The entries beside the reference by their last validations.

    Of other images than the test's these are a second look: an interval does not cover the choice
    of the images. Empty if they give the numbers of the test.
    """
    last = {
        entry: {
            seed: {'metrics': result['validations'][max(result['validations'], key=int)]}
            for seed, result in by_seed.items()
            if result.get('validations')
        }
        for entry, by_seed in results.items()
    }
    pairs = [
        (value_of(result, spec.metric), value_of(results[entry][seed], spec.metric))
        for entry, by_seed in last.items()
        for seed, result in by_seed.items()
    ]
    table = comparisons(spec, last, spec.metric)
    is_same = all(validated == tested for validated, tested in pairs)
    return {} if is_same or table[spec.reference] is None else table


def validations_table(spec: Spec, results: Results) -> str:
    """What :func:`last_validations` says."""
    table = last_validations(spec, results)
    if not table:
        return ''
    decimals = decimals_of(table.values())
    lines = [
        '',
        f'{spec.metric} at the last validation of each run:',
        '',
        f'| entry | seeds | mean | difference to {spec.reference}, 95 % interval |',
        '|---|---|---|---|',
    ]
    for entry, found in table.items():
        if found is not None:
            difference = '' if entry == spec.reference else _difference(found, decimals)
            lines.append(f'| {entry} | {found.seeds} | {found.mean:.{decimals}f} | {difference} |')
    return '\n'.join(lines) + '\n'


def metrics_table(spec: Spec, results: Results) -> str:
    """All other metrics of the tests, such as those of classes and of sizes."""
    names = {
        name: None
        for by_seed in results.values()
        for result in by_seed.values()
        for name, value in result['metrics'].items()
        # COCO has -1 for a size without objects, MMSegmentation NaN for a class without pixels
        if name != spec.metric and not math.isnan(value) and value != -1
    }
    others = [entry for entry in spec.entries if entry != spec.reference and entry in results]
    if not names or not others or spec.reference not in results:
        return ''
    lines = [
        '',
        f'The other metrics: the mean of {spec.reference}, and the difference to it with its '
        'interval. Of so many intervals one in twenty excludes zero by chance.',
        '',
        f'| metric | {spec.reference} | ' + ' | '.join(others) + ' |',
        '|---|---|' + '---|' * len(others),
    ]
    for name in names:
        table = comparisons(spec, results, name)
        reference = table[spec.reference]
        if reference is not None:
            decimals = decimals_of(table.values())
            cells = [f'{reference.mean:.{decimals}f}']
            cells += [_difference(table[entry], decimals) for entry in others]
            lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def cost_table(
    spec: Spec, costs: Mapping[str, Complexity], speed: Mapping[str, Mapping[str, Any]]
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
    sizes = {f'{counts.shape[0]} x {counts.shape[1]}' for counts in costs.values()}
    for entry in spec.entries:
        counts, row = costs.get(entry), speed.get(entry, {})
        cells = [f'{counts.params:,}', f'{counts.flops / 1e6:,.1f} M'] if counts else ['', '']
        if counts and len(sizes) > 1:
            cells[1] += f' at {counts.shape[0]} x {counts.shape[1]}'
        ratios = (row.get(key) for key in ('step', 'inference', 'peak memory'))
        cells += ['' if ratio is None else f'{ratio:.3f}' for ratio in ratios]
        lines.append(f'| {entry} | ' + ' | '.join(cells) + ' |')
    if costs:
        of_size = f' of {sizes.pop()} pixels' if len(sizes) == 1 else ''
        lines += ['', f'FLOPs are multiply-adds of one image{of_size}.']
    if speed:
        by_machine: dict[str, list[str]] = {}
        for entry, row in speed.items():
            by_machine.setdefault(row['measured'], []).append(entry)
        for measured, named in by_machine.items():
            of_these = f' of {", ".join(named)}' if len(by_machine) > 1 else ''
            lines += [
                '',
                f'Times and memory{of_these} are ratios to {spec.reference}, medians of '
                f'{measured}.',
            ]
        if spec.reference in speed:
            lines[-1] += (
                f' The row of {spec.reference}, another network of the same config, shows how '
                'exact they are.'
            )
    else:
        lines += ['', 'Times and memory: not measured; `--speed` measures them.']
    return '\n'.join(lines) + '\n'


def _difference(found: Comparison | None, decimals: int) -> str:
    if found is None:
        return ''
    difference, interval = f'{found.difference:+.{decimals}f}', found.interval(decimals)
    return f'{difference} ({interval})' if interval else difference
