"""Reads the tables of the methods' READMEs."""

from itertools import chain


def tables(readme):
    """Every table as a list of rows, each of them a dict by column."""
    header, rows = None, []
    for line in [*readme.splitlines(), '']:
        cells = [cell.strip() for cell in line.strip('|').split('|')] if line[:1] == '|' else None
        if cells is None:
            if rows:
                yield rows
            header, rows = None, []
        elif header is None:
            header = cells
        elif not set(line) <= set('|-: '):
            rows.append(dict(zip(header, cells, strict=True)))


def table_rows(readme):
    """The rows of every table."""
    return chain.from_iterable(tables(readme))
