"""The metrics of a test as a table and as JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

#: Name of the file in the work dir.
METRICS_FILE = 'metrics.json'


def by_class(metrics: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Gives each class of a metric that lists one value per class a name of its own.

    Args:
        metrics: What the evaluators returned, such as
            ``single-label/recall_classwise=[71.4, 65.0]``.
        classes: Names of the classes.

    Returns:
        The metrics with ``single-label/recall_classwise/dress=71.4`` in place of the list.
    """
    named: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, list) and len(value) == len(classes):
            named |= {f'{name}/{of}': number for of, number in zip(classes, value, strict=True)}
        else:
            named[name] = value
    return named


def write_metrics(metrics: Mapping[str, Any], work_dir: str) -> str:
    """Writes metrics as one flat JSON object of names and numbers.

    Args:
        metrics: What the evaluators returned.
        work_dir: The folder to write to.

    Returns:
        Path of the file. A value that is not a finite number becomes ``null``.
    """
    numbers = {name: _number(value) for name, value in metrics.items()}
    os.makedirs(work_dir, exist_ok=True)
    path = os.path.join(work_dir, METRICS_FILE)
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(numbers, file, indent=2)
        file.write('\n')
    return path


def print_metrics(metrics: Mapping[str, Any], title: str) -> None:
    """Prints metrics as a table on stdout."""
    table = Table('metric', title=title, title_justify='left')
    table.add_column('value', justify='right')
    for name, value in metrics.items():
        number = _number(value)
        table.add_row(name, str(value) if number is None else f'{number:.4f}')
    Console().print(table)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    # Evaluators compute in float32; further digits would be noise.
    return float(f'{number:.6g}') if math.isfinite(number) else None
