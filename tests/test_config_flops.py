"""The figures of the methods' READMEs and metafiles are those that `measure()` counts.

Counting takes about three minutes of one core; `make test` holds the columns against one another.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from readme_tables import table_rows, tables

from mmela.analysis.complexity import measure
from mmela.engine import load_config

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent for path in (ROOT / 'configs').glob('*/*/README.md'))
ROWS = [
    pytest.param(folder, row, id=f'{folder.name}-{number}')
    for folder in FOLDERS
    for number, row in enumerate(table_rows((folder / 'README.md').read_text()))
    if 'added FLOPs' in row
]


def configs_of(row):
    """The files that a row links, or the toolbox's own config that it names."""
    return re.findall(r'\(([\w.-]+\.py)\)', row['config']) or [row['config'].strip('`')]


def figures(cell):
    """The figures of a cell: of `scaled` there is one of its own where the others have another."""
    return [float(part.replace(',', '')) for part in re.findall(r'[\d,.]+', cell)]


def test_every_method_has_its_figures_in_a_table():
    assert len({folder for folder, _ in (row.values for row in ROWS)}) == len(FOLDERS) >= 7


@pytest.mark.parametrize('folder', FOLDERS, ids=lambda folder: folder.name)
def test_the_columns_of_a_table_add_up_from_its_baselines(folder):
    """Within what they are rounded to; a row without attention is the baseline of those below."""
    for table in tables((folder / 'README.md').read_text()):
        baseline = None  # a table without one is left to the long test
        for row in table if 'added FLOPs' in table[0] else []:
            added, parameters = figures(row['added']), figures(row['parameters'])
            (flops,) = figures(row['FLOPs'])
            if row['layers'] == '0':
                assert row['attention'].endswith('none')
                assert (row['added'], row['added FLOPs']) == ('0', '')
                baseline = parameters[0], flops
            elif baseline:
                assert len(added) == len(parameters) == (2 if 'scaled' in row['config'] else 1)
                for own, total in zip(added, parameters, strict=True):
                    assert total == pytest.approx(baseline[0] + own / 1e6, abs=0.00101), row
                (share,) = figures(row['added FLOPs'])
                rounding = 0.00101 + baseline[1] * 0.005 / 100
                assert flops == pytest.approx(baseline[1] * (1 + share / 100), abs=rounding), row


@pytest.mark.long
@pytest.mark.parametrize('folder, row', ROWS)
def test_a_row_says_what_is_counted(folder, row):
    told = yaml.safe_load((folder / 'metafile.yml').read_text())['Models']
    metadata = {Path(model['Config']).name: model['Metadata'] for model in told}
    configs = configs_of(row)
    for config in configs:
        counted = measure(load_config(config if '::' in config else folder / config))
        own_column = '-scaled' in config and len(configs) > 1
        parameters = f'{counted.params / 1e6:.3f}', f'{counted.attention_params:,}'
        cells = row['parameters'].removesuffix(' M'), row['added']
        assert tuple(cell.split(' / ')[own_column] for cell in cells) == parameters, config
        assert row['layers'] == str(counted.attention_layers), config
        assert row['FLOPs'] == f'{counted.flops / 1e9:.3f} G', config
        share = f'+{100 * counted.attention_flops / counted.baseline_flops:.2f} %'
        assert row['added FLOPs'] == (share if counted.attention_layers else ''), config
        height, width = counted.shape
        assert f'{height} x {width}' in (folder / 'README.md').read_text(), config
        if '::' not in config and (counted.attention_layers or config in metadata):
            meta = metadata[config]
            assert meta['Parameters'] == counted.params, config
            assert meta['FLOPs'] == counted.flops, config
            assert meta['Input Size'] == [height, width], config
