"""The statistics are those of SciPy's paired t test, and the words follow them."""

import csv
import math

import pytest
from scipy import stats

from mmela.analysis.compare.report import comparisons, write_report
from mmela.analysis.compare.spec import Spec, read_spec, slug
from mmela.analysis.compare.statistics import compare, seeds_needed
from mmela.engine import UserError

NONE = {0: 0.624, 1: 0.620, 2: 0.625, 3: 0.618, 4: 0.622}
WORSE = {0: 0.599, 1: 0.602, 2: 0.608, 3: 0.595, 4: 0.601}
EQUAL = {0: 0.621, 1: 0.625, 2: 0.622, 3: 0.619, 4: 0.621}


@pytest.mark.parametrize('entry', [WORSE, EQUAL])
def test_the_interval_is_that_of_a_paired_t_test(entry):
    found = compare(entry, NONE)
    test = stats.ttest_rel(list(entry.values()), list(NONE.values()))
    interval = test.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.is_shown == (test.pvalue < 0.05)


def test_the_words_say_what_the_interval_shows():
    assert compare(WORSE, NONE).sentence().startswith('worse than the reference (interval -0.0')
    assert compare(WORSE, NONE).sentence(higher_is_better=False).startswith('better')
    assert (
        compare(EQUAL, NONE)
        .sentence(scale=100)
        .startswith('no difference could be shown (interval -0.')
    )
    assert compare({0: 1.0}, {0: 2.0}).sentence() == 'one seed shows nothing'


def test_only_seeds_that_both_have_are_compared():
    found = compare({0: 1.0, 1: 2.0, 7: 99.0}, {0: 0.5, 1: 1.0, 2: -9.0})
    assert found.seeds == 2 and found.difference == pytest.approx(0.75)
    assert compare({3: 1.0}, {4: 1.0}) is None


@pytest.mark.parametrize('difference, spread', [(0.01, 0.01), (0.005, 0.02), (1.0, 0.1)])
def test_with_the_seeds_that_are_needed_the_interval_excludes_zero(difference, spread):
    n = seeds_needed(difference, spread)

    def half(n):
        return stats.t.ppf(0.975, n - 1) * spread / math.sqrt(n)

    assert half(n) < difference and (n == 2 or half(n - 1) >= difference)
    assert seeds_needed(1e-6, 1.0) is None


def spec_of(tmp_path, **changes):
    values = dict(
        base='mmdet::yolox/yolox_nano_8xb8-300e_coco.py',
        metric='coco/bbox_mAP',
        entries={'none': {}, 'ELA-T': {'model.backbone.type': 'mmela.CSPDarknet'}},
    )
    values.update(changes)
    file = tmp_path / 'spec.py'
    file.write_text('\n'.join(f'{k} = {v!r}' for k, v in values.items() if v is not None))
    return str(file)


def test_a_cross_product_names_its_entries(tmp_path):
    axes = {
        'form': {'plain': {}, 'scaled': {'model.backbone.plugins.0.cfg.residual': 'scaled'}},
        'depth': {'narrow': {'model.backbone.widen_factor': 0.25}, '': {}},
    }
    base = 'configs/det/yolox/yolox_nano-ela-t_bccd.py'
    spec = read_spec(spec_of(tmp_path, entries={}, cross=axes, base=base))
    assert list(spec.entries) == ['plain narrow', 'plain', 'scaled narrow', 'scaled']
    cfg = spec.config('scaled narrow', 3, str(tmp_path))
    assert cfg.model.backbone.plugins[0].cfg.residual == 'scaled'
    assert (cfg.model.backbone.widen_factor, cfg.randomness.seed) == (0.25, 3)


@pytest.mark.parametrize(
    'changes, said',
    [
        (dict(metrics='mIoU'), "did you mean 'metric'"),
        (dict(metric=None), 'metric'),
        (dict(entries={'none': {}}), 'at least two'),
        (dict(reference='non'), "did you mean 'none'"),
        (dict(entries={'ELA T': {}, 'ela-t': {}}), 'different names'),
        (dict(base='nowhere.py'), 'nowhere.py'),
    ],
)
def test_an_invalid_spec_is_refused_with_key_and_fix(changes, said, tmp_path):
    with pytest.raises(UserError) as error:
        read_spec(spec_of(tmp_path, **changes))
    assert said in str(error.value)


def test_the_report_has_every_run_and_its_command(tmp_path):
    spec = Spec('base.py', {'none': {}, 'ELA_B': {}}, 'none', 'mIoU')
    results = {
        entry: {s: {'metric': v, 'metrics': {'mIoU': v}, 'seconds': 1} for s, v in values.items()}
        for entry, values in (('none', NONE), ('ELA_B', WORSE))
    }
    files = write_report(spec, results, 'spec.py', str(tmp_path))
    assert [file.rpartition('/')[2] for file in files] == [
        'report.md',
        'report.tex',
        'results.csv',
        'differences.png',
    ]
    page = (tmp_path / 'report.md').read_text()
    assert 'worse than the reference' in page and page.count('`mmela compare') == 10
    tex = (tmp_path / 'report.tex').read_text()
    assert '\\toprule' in tex and 'ELA\\_B' in tex and tex.count('\\\\') == 3
    rows = list(csv.DictReader((tmp_path / 'results.csv').open()))
    assert {(row['entry'], int(row['seed'])) for row in rows} == {
        (entry, seed) for entry in results for seed in NONE
    }
    assert comparisons(spec, {})['ELA_B'] is None


def test_names_become_folders():
    assert slug('x + scale * ELA(x)') == 'x-scale-ela-x'
