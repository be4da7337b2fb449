"""The figures of a comparison: differences with their intervals, and learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mmela.analysis.compare.spec import Spec
from mmela.analysis.compare.statistics import Comparison

#: The validations of each entry's runs: a metric by epoch or iteration.
Curves = Mapping[str, list[dict[int, float]]]


def differences_figure(spec: Spec, table: Mapping[str, Comparison | None]) -> Any:
    """The differences to the reference with their intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = {
        entry: found
        for entry, found in table.items()
        if found is not None and entry != spec.reference and not math.isnan(found.low)
    }
    figure = Figure(figsize=(5.5, 1 + 0.4 * len(shown)), layout='constrained')
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    for row, found in enumerate(shown.values()):
        half = found.high - found.difference
        ax.errorbar(found.difference, row, xerr=half, fmt='o', color='black', capsize=3)
    ax.axvline(0, color='grey', linewidth=0.8)
    ax.set_yticks(range(len(shown)), [f'{e} ({f.seeds} seeds)' for e, f in shown.items()])
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.set_xlabel(f'{spec.metric}\ndifference to {spec.reference}, 95 % interval')
    return figure


def learning_curves(spec: Spec, results: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> Curves:
    """The metric of each finished run's validations, by step.

    Args:
        spec: The comparison.
        results: Results by entry and seed.

    Returns:
        For each entry with validations, one dict per seed.
    """
    curves: dict[str, list[dict[int, float]]] = {}
    for entry, by_seed in results.items():
        for _, result in sorted(by_seed.items()):
            points = {
                int(step): metrics[spec.metric]
                for step, metrics in result.get('validations', {}).items()
                if spec.metric in metrics
            }
            if len(points) > 1:
                curves.setdefault(entry, []).append(points)
    return curves


def curves_figure(spec: Spec, curves: Curves, unit: str) -> Any:
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
    ax.locator_params(axis='x', integer=True)
    ax.set_xlabel(unit)
    ax.set_ylabel(f'{spec.metric}\nmean and standard deviation')
    ax.legend()
    return figure
