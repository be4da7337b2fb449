"""The figures in the methods' READMEs and metafiles agree, and are what `measure()` counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from readme_tables import LINK, figure_tables, override_rows

from mmela.analysis.complexity import measure
from mmela.engine import load_config

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent for path in (ROOT / 'configs').glob('*/*/README.md'))
every_folder = pytest.mark.parametrize('folder', FOLDERS, ids=lambda folder: folder.name)
ROWS = [
    (folder, row) for folder in FOLDERS for t in figure_tables(folder / 'README.md') for row in t
]
#: The rows that CI counts too: a network of each toolbox and kind of place, light where possible.
CORE = (
    'yolox_nano-ela-t',
    'rtmdet_tiny',
    'faster-rcnn_r18',
    'mobilenet-v2-ela-l',
    'clothes.py',
    'deeplabv3_r50-d8-ela-s-residual',
)


def metadata_of(folder):
    models = yaml.safe_load((folder / 'metafile.yml').read_text())['Models']
    assert all((ROOT / model['Config']).parent == folder for model in models)
    return {Path(model['Config']).name: model['Metadata'] for model in models}


def number(cell):
    """The number in a cell, without its unit."""
    return float(cell.split(' ')[0].replace(',', '') or 0)


@every_folder
def test_metafile_and_readme_list_every_config(folder):
    configs = {path.name for path in folder.glob('*.py')}
    assert set(metadata_of(folder)) == configs
    assert configs <= set(LINK.findall((folder / 'README.md').read_text()))


@every_folder
def test_the_readme_has_the_figures_of_the_metafile(folder):
    metadata, tables = metadata_of(folder), figure_tables(folder / 'README.md')
    assert tables
    for table in tables:
        baseline = None
        for name, attention, layers, parameters, added, flops, added_flops, *_ in table:
            if link := LINK.search(name):
                meta = metadata[link[1]]
                assert int(layers.split()[0] if layers else 0) == meta['Attention Layers'], name
                assert parameters == f'{meta["Parameters"] / 1e6:.3f} M', name
                assert number(added) == meta['Attention Parameters'], name
                assert flops == f'{meta["FLOPs"] / 1e9:.3f} G', name
            if attention == 'none':
                assert not (layers or added or added_flops), name
                baseline = number(parameters), number(flops)
            elif baseline:  # the columns add up, within what they are rounded to
                assert number(parameters) == pytest.approx(
                    baseline[0] + number(added) / 1e6, abs=2e-3
                )
                assert number(flops) == pytest.approx(
                    baseline[1] + number(added_flops) / 1e3, abs=2e-3
                )


#: Parameters by Coordinate Attention's authors and by the definition of ELA, in millions.
PUBLISHED = {
    'mobilenet-v2_8xb32-200e_in1k.py': 3.505,
    'mobilenet-v2-ela-s_8xb32_in1k.py': 3.803,
    'mobilenet-v2-ela-l_8xb32-200e_in1k.py': 3.917,
    'mobilenet-v2-coord-att_8xb32-200e_in1k.py': 3.951,
    'resnet50-ela-b_8xb32_in1k.py': 25.591,
}
PUBLISHED_OVERRIDES = {
    ('mobilenet-v2-ela-l_8xb32-200e_in1k.py', 'B'): '3.569 M',
    ('resnet50-ela-b_8xb32_in1k.py', 'T'): '25.583 M',
    ('resnet50-ela-b_8xb32_in1k.py', 'S'): '25.716 M',
    ('resnet50-ela-b_8xb32_in1k.py', 'L'): '25.776 M',
}


def test_the_classifiers_have_the_published_totals():
    metadata = {name: m for folder in FOLDERS for name, m in metadata_of(folder).items()}
    totals = {name: round(metadata[name]['Parameters'] / 1e6, 3) for name in PUBLISHED}
    assert totals == PUBLISHED
    overrides = {
        (name, options.partition('cfg.variant=')[2]): parameters
        for folder in FOLDERS
        for name, options, _, parameters in override_rows(folder / 'README.md')
    }
    assert overrides.items() >= PUBLISHED_OVERRIDES.items()


def mark(folder, row):
    marks = [pytest.mark.long]
    if any(name in row[0] for name in CORE):
        marks.append(pytest.mark.core)
    name = LINK.search(row[0])
    return pytest.param(folder, row, marks=marks, id=name[1] if name else row[0].strip('`'))


@pytest.mark.parametrize(
    'folder, row', [mark(*r) for r in ROWS if LINK.search(r[1][0]) or '::' in r[1][0]]
)
def test_a_row_says_what_is_counted(folder, row):
    cell, attention, layers, parameters, added, flops, added_flops, *_ = row
    name = LINK.search(cell)
    if folder.parent.name == 'cls':
        pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')
    counted = measure(load_config(folder / name[1] if name else cell.strip('`')))
    assert parameters == f'{counted.params / 1e6:.3f} M'
    assert flops == f'{counted.flops / 1e9:.3f} G'
    assert int(layers.split()[0] if layers else 0) == counted.attention_layers
    if counted.attention_layers:
        assert attention == counted.attention
        assert added == f'{counted.attention_params:,}'
        assert added_flops == f'{counted.attention_flops / 1e6:.3f} M'
    height, width = counted.shape
    assert f'{height} x {width}' in (folder / 'README.md').read_text()
    if name:
        meta = metadata_of(folder)[name[1]]
        assert (meta['Parameters'], meta['FLOPs']) == (counted.params, counted.flops)
        assert meta['Input Size'] == [height, width]
