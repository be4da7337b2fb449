"""The formulas, the numbers and the walk of `docs/attention_zoo.md`."""

from __future__ import annotations

import re
import runpy
import sys

import pytest
import torch
from mmengine.analysis import FlopAnalyzer
from torch.utils._python_dispatch import TorchDispatchMode

from mmela.analysis.complexity import measure
from mmela.attentions import CBAM, ECA, ELA, SE, CoordAtt
from mmela.attentions.eca import adaptive_kernel_size
from mmela.engine import load_config

BUILD = {
    '`mmela.SE`': SE,
    '`mmela.ECA`': ECA,
    '`mmela.CBAM`': CBAM,
    '`mmela.CoordAtt`': CoordAtt,
    **{f'`mmela.ELA`, {v}': lambda c, v=v: ELA(c, v) for v in 'TBSL'},
}
HIDDEN = {
    '`mmela.SE`': lambda c: max(c // 16, 1),
    '`mmela.CBAM`': lambda c: max(c // 16, 1),
    '`mmela.CoordAtt`': lambda c: max(c // 32, 8),
}
every_layer = pytest.mark.parametrize('name', BUILD)


@pytest.fixture(scope='module')
def page(repo_root):
    return (repo_root / 'docs/attention_zoo.md').read_text()


@pytest.fixture(scope='module')
def rows(page):
    """The cells of every table row by the first cell."""
    lines = re.findall(r'^\| (.*) \|$', page, re.MULTILINE)
    return {cells[0]: cells for cells in (line.split(' | ') for line in lines)}


def value_of(cell, name, channels, height=1, width=1):
    """What the formula at the beginning of a cell gives."""
    formula = re.match(r'`([^`]+)`', cell)[1]
    hidden = HIDDEN.get(name, lambda c: None)(channels)
    known = dict(C=channels, H=height, W=width, h=hidden, k=adaptive_kernel_size(channels))
    return eval(formula, {'__builtins__': {}}, known)


@every_layer
@pytest.mark.parametrize('channels', [64, 192, 256, 2048])
def test_parameters_are_those_of_the_formula(rows, name, channels):
    layer = BUILD[name](channels)
    formula = value_of(rows[name][2], name, channels)
    assert sum(p.numel() for p in layer.parameters()) == formula


@every_layer
def test_multiply_adds_are_those_of_the_formula(rows, name):
    layer, x = BUILD[name](64).eval(), torch.rand(1, 64, 20, 12)
    counter = FlopAnalyzer(layer, x)
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    found = counter.by_operator()
    layers = found['conv'] + found['linear']
    assert layers == value_of(rows[name][3], name, 64, 20, 12)


class FullMapOperations(TorchDispatchMode):
    """Counts the operations that take or give a whole map; views and empty maps cost nothing."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        maps = [t for t in (*args, out) if isinstance(t, torch.Tensor) and t.shape == self.shape]
        self.count += bool(maps) and not (function.is_view or 'empty' in function.name())
        return out


@every_layer
def test_full_map_operations_are_as_many_as_the_page_says(rows, name):
    layer, x = BUILD[name](64).eval(), torch.rand(1, 64, 20, 12)
    with torch.no_grad(), FullMapOperations(x.shape) as operations:
        layer(x)
    assert operations.count == int(rows[name][4])


def test_the_numbers_are_those_that_the_command_prints(page, repo_root, monkeypatch, capsys):
    command = re.search(r'`python (tools/\S+\.py)` prints', page)[1]
    monkeypatch.setattr(sys, 'argv', [command])
    assert runpy.run_path(str(repo_root / command))['main']() == 0
    tables = capsys.readouterr().out.strip().split('\n\n')
    assert len(tables) == 2
    assert all(table in page for table in tables)


#: Of one layer on a map of C x H x W: how often a mean or a maximum reads the map, and the norms:
#: MMEngine counts 2 an element for a BatchNorm and 5 for a GroupNorm.
POOLED = dict(SE=1, ECA=1, CBAM=4, CoordAtt=2, ELA=2)
NORMS = dict(
    CBAM=lambda c, h, w: 2 * h * w,
    CoordAtt=lambda c, h, w: 2 * (c // 32) * (h + w),
    ELA=lambda c, h, w: 5 * c * (h + w),
)


@every_layer
def test_flops_are_the_multiply_adds_the_norms_and_the_pooling(rows, name):
    of_the_formula = value_of(rows[name][3], name, 256, 56, 56)
    kind, variant = re.fullmatch(r'`mmela\.(\w+)`(?:, (\w))?', name).groups()
    norms = NORMS.get(kind, lambda *shape: 0)(256, 56, 56)
    printed = rows[f'{kind}-{variant}' if variant else kind][2]
    assert printed == f'{of_the_formula + norms + POOLED[kind] * 256 * 56 * 56:,}'


LONG = [pytest.mark.long, pytest.mark.core]


@pytest.mark.parametrize(
    'row', ['ELA-B', *(pytest.param(n, marks=LONG) for n in ('SE', 'ECA', 'CBAM', 'CoordAtt'))]
)
def test_flops_in_resnet_50_are_those_of_get_flops(rows, row):
    name = row.removesuffix('-B')
    cfg = load_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    cfg.model.backbone.plugins = [dict(cfg=dict(type=f'mmela.{name}'), position='after_conv2')]
    result = measure(cfg, (224, 224))
    assert result.attention_layers == 16
    assert f'{result.attention_flops:,}' == rows[row][6]
    assert f'{result.attention_params:,}' == rows[row][5]


def test_the_walk_changes_one_argument_a_step_and_ends_at_ela(rows, page):
    arguments, parameters = {}, []
    for step in range(8):
        change = rows[str(step)][2].strip().strip('`')
        arguments.update(eval(f'dict({change})'))
        layer = CoordAtt(256, **arguments)
        parameters.append(sum(p.numel() for p in layer.parameters()))
        assert f'{parameters[-1]:,}' == rows[str(step)][3]
    assert parameters[-1] == 9 * 256  # ELA-B
    block = re.search(r'```python\n(.*?)\n```', page, re.DOTALL)[1]
    end, ela = (eval(part) for part in re.split(r'\n(?=dict)', block))
    assert end == dict(type='mmela.CoordAtt', **arguments)
    assert ela == dict(type='mmela.ELA', variant='B')


def test_totals_are_those_that_follow_from_the_papers_definitions(rows):
    def total(name, column, base):
        return round((base + int(rows[name][column].replace(',', ''))) / 1e6, 3)

    mobilenet = {name: total(name, 3, 3_504_872) for name in ('ELA-B', 'ELA-S', 'ELA-L')}
    assert mobilenet == {'ELA-B': 3.569, 'ELA-S': 3.803, 'ELA-L': 3.917}
    assert total('CoordAtt', 3, 3_504_872) == 3.951
    resnet = {v: total(f'ELA-{v}', 5, 25_557_032) for v in 'TBSL'}
    assert resnet == {'T': 25.583, 'B': 25.591, 'S': 25.716, 'L': 25.776}
