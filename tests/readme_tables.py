"""Reads the tables and the commands of the methods' READMEs."""

from __future__ import annotations

import re
from pathlib import Path

LINK = re.compile(r'\(([\w.-]+\.py)\)')


def tables(readme: Path) -> list[list[list[str]]]:
    """Every table as a list of rows, the header first; each row is a list of cells."""
    found, last_was_row = [], False
    for line in readme.read_text().splitlines():
        is_row = line.startswith('|')
        if is_row and not set(line) <= set('|-: '):
            if not last_was_row:
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip('|').split('|')])
        last_was_row = is_row
    return found


def figure_tables(readme: Path) -> list[list[list[str]]]:
    """The rows of the tables with parameters and FLOPs of configs, without their headers."""
    return [rows for header, *rows in tables(readme) if header[0] == 'config']


def override_rows(readme: Path) -> list[tuple[str, str, str, str]]:
    """Config, options, layers and parameters of each row of the tables of overrides."""
    return [
        (LINK.search(header[0])[1], options.strip('`'), layers, parameters)
        for header, *rows in tables(readme)
        if header[1] == '`--cfg-options`'
        for _, options, layers, parameters in rows
    ]
