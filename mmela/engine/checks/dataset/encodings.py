"""Text files that a toolbox would misread: a byte order mark, another encoding, blank lines."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from mmela.engine.checks.dataset.data_sets import DataSet
from mmela.engine.checks.dataset.findings import Finding, listed_with_count
from mmela.engine.data.file_faults import encoding_fault


def check_list_file(dataset: DataSet) -> Iterator[Finding]:
    """Looks at a list of names, one a line, for what would become part of a name.

    Args:
        dataset: A data set whose annotation file may be such a list.

    Yields:
        Faults.
    """
    path = dataset.ann_file
    if path is None or not os.path.isfile(path) or dataset.reader in ('', 'CocoDataset'):
        return
    key = f'{dataset.key}.ann_file'
    fault = encoding_fault(path)
    if fault:
        yield Finding(key, f'{path} {fault}.', path=path)
        return
    with open(path, encoding='utf-8') as file:
        lines = file.read().splitlines()
    blank = [number for number, line in enumerate(lines, 1) if not line.strip()]
    if blank or not lines:
        what = f'has blank lines ({listed_with_count(blank)}): remove them' if lines else 'is empty'
        yield Finding(key, f'{path} {what}.', path=path)
    padded = [line for line in lines if line.strip() and line != line.strip()]
    if padded and dataset.reader == 'XMLDataset':
        text = f'{path} has names with blanks around them, which MMDetection keeps: {padded[0]!r}.'
        yield Finding(key, text, path=path)
    repeated = [name for name, number in Counter(lines).items() if number > 1 and name.strip()]
    if repeated:
        text = f'{path} lists {len(repeated)} names more than once: {listed_with_count(repeated)}.'
        yield Finding(key, text, is_fault=False, path=path)
