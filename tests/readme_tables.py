"""Reads the tables of the methods' READMEs."""


def table_rows(readme):
    """The rows of every table, each as a dict by column."""
    header = None
    for line in readme.splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')] if line[:1] == '|' else None
        if cells is None:
            header = None
        elif header is None:
            header = cells
        elif not set(line) <= set('|-: '):
            yield dict(zip(header, cells, strict=True))
