"""The statistics are those of SciPy's paired t test, and the words follow them."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from scipy import stats

from mmela.analysis.compare.cell import RESULT, folder_of
from mmela.analysis.compare.costs import record
from mmela.analysis.compare.report import comparisons, write_report
from mmela.analysis.compare.schedule import results_of, run_all
from mmela.analysis.compare.spec import Spec, read_spec, slug
from mmela.analysis.compare.statistics import compare, decimals_of, seeds_needed
from mmela.analysis.complexity import Complexity
from mmela.distributions import distribution_of
from mmela.engine import UserError
from mmela_cli.compare import main

ROOT = Path(__file__).resolve().parents[2]
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
    # by hand: the differences have a mean of -0.0208 and a standard deviation of 0.00335
    half = 2.776 * 0.00335 / math.sqrt(5)
    interval = f'(interval {-0.0208 - half:.4f} to {-0.0208 + half:.4f})'
    assert compare(WORSE, NONE).sentence(True, 4) == f'worse than the reference {interval}'
    assert compare(WORSE, NONE).sentence(False, 4) == f'better than the reference {interval}'
    assert compare(EQUAL, NONE).sentence(True, 1).startswith('no difference could be shown')
    assert compare({0: 1.0}, {0: 2.0}).sentence(True, 4) == 'one seed shows nothing'


def test_a_table_has_two_digits_of_its_smallest_deviation():
    wide = {seed: 70 + 3 * value for seed, value in NONE.items()}  # deviations of .0028 and .0084
    assert decimals_of([compare(NONE, NONE), compare(wide, wide), None]) == 4
    assert decimals_of([compare(wide, wide)]) == 4
    assert decimals_of([compare({0: 71.2}, {0: 70.1})]) == 2 and decimals_of([None]) == 0
    assert decimals_of([compare({0: 10.0, 1: 50.0}, {0: 0.0, 1: 0.0})]) == 0


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
        (dict(entries=['a', 'b']), 'entries'),
        (dict(entries={'a': {}, 'b': 'x'}), "entries['b']"),
        (dict(cross=[1]), 'cross'),
        (dict(cross={'form': ['plain']}), "cross['form']"),
        (dict(options='data'), 'options'),
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
    assert page.count('--out again`') == 10  # beside the finished run, which would only be tested
    tex = (tmp_path / 'report.tex').read_text()
    assert '\\toprule' in tex and 'ELA\\_B' in tex and tex.count('\\\\') == 3
    rows = list(csv.DictReader((tmp_path / 'results.csv').open()))
    assert {(row['entry'], int(row['seed'])) for row in rows} == {
        (entry, seed) for entry in results for seed in NONE
    }
    assert comparisons(spec, {}, 'mIoU')['ELA_B'] is None


def test_the_report_has_the_metrics_of_classes_and_whether_the_training_was_long_enough(tmp_path):
    spec = Spec('base.py', {'none': {}, 'ELA': {}}, 'none', 'mIoU')
    rng = np.random.default_rng(0)
    values = {entry: rng.normal(50, 5, (4, 2)) for entry in spec.entries}
    results = {}
    for entry, runs in values.items():
        for seed, (of_all, of_dress) in enumerate(runs):
            metrics = {'mIoU': of_all, 'IoU/dress': of_dress, 'IoU/hat': math.nan}
            validations = {step: {'mIoU': of_all - 8 + step} for step in (2, 6, 8)}
            file = kept_result(
                spec, tmp_path, entry, seed, metrics=metrics, validations=validations
            )
            results.setdefault(entry, {})[seed] = json.loads(file.read_text()) | {'metric': of_all}
    write_report(spec, results, 'spec.py', str(tmp_path))
    page = (tmp_path / 'report.md').read_text()
    test = stats.ttest_rel(values['ELA'][:, 1], values['none'][:, 1])
    low, high = test.confidence_interval()
    mean = values['none'][:, 1].mean()
    # a standard deviation of a few points: two digits of it are one decimal
    difference = f'{values["ELA"][:, 1].mean() - mean:+.1f} ({low:+.1f} to {high:+.1f})'
    assert f'| IoU/dress | {mean:.1f} | {difference} |' in page and 'IoU/hat' not in page
    assert 'at 6 and 8, none changed by +2 on average' in page
    assert (tmp_path / 'curves.png').is_file()


def test_the_report_has_the_cost_of_each_entry(tmp_path):
    spec = Spec('base.py', {'none': {}, 'ELA-B': {}}, 'none', 'mIoU')
    costs = {
        'none': Complexity((32, 64), 1000, 2_000_000),
        'ELA-B': Complexity((32, 64), 1000, 2_000_000, attention_params=10),
    }
    speed = {'ELA-B': {'step': 1.25, 'inference': 1.5, 'peak memory': None}}
    (tmp_path / 'speed.json').write_text(json.dumps(speed))
    write_report(spec, {}, 'spec.py', str(tmp_path), costs)
    page = (tmp_path / 'report.md').read_text()
    assert '| none | 1,000 | 2.0 M |' in page
    assert '| ELA-B | 1,010 | 2.0 M | 1.250 | 1.500 |' in page


def test_the_spec_and_the_environment_are_kept(tmp_path):
    file = spec_of(tmp_path)
    record(file, str(tmp_path / 'out'))
    record(str(tmp_path / 'out/spec.py'), str(tmp_path / 'out'))
    assert (tmp_path / 'out/spec.py').read_text() == open(file).read()
    kept = json.loads((tmp_path / 'out/environment.json').read_text())
    assert torch.__version__.startswith(kept['packages']['torch'])
    assert kept['processor']
    name, version = distribution_of('mmcv')
    assert kept['packages'][name] == version


@pytest.mark.parametrize(
    'name', [path.parent.name for path in (ROOT / 'benchmarks/accuracy').glob('*/spec.py')]
)
def test_the_entries_of_the_benchmarks_are_networks(name, monkeypatch):
    """Each builds, shares all tensors of the reference, and has the attention of its name."""
    if 'clothing' in name:
        pytest.importorskip('mmpretrain')
    monkeypatch.chdir(ROOT)
    spec = read_spec(f'benchmarks/accuracy/{name}/spec.py')
    keys = {}
    for entry in spec.entries:
        cfg = spec.config(entry, 0, 'work_dirs')
        init_default_scope(cfg.default_scope)
        network = MODELS.build(cfg.model)
        keys[entry] = {key: tensor.shape for key, tensor in network.state_dict().items()}
        kinds = {type(module).__name__ for module in network.modules()}
        assert kinds & {'ELA', 'SE', 'CoordAtt'} == (
            set() if entry == 'none' else {entry.split()[0].split('-')[0]}
        )
    reference = keys.pop(spec.reference).items()
    assert all(reference <= found.items() for found in keys.values())


def kept_result(spec, out, entry, seed=0, **changes):
    file = folder_of(out, entry, seed) / RESULT
    file.parent.mkdir(parents=True)
    metrics = {spec.metric: 0.5}
    values = dict(seed=seed, metrics=metrics, setting=spec.setting(entry), seconds=60)
    file.write_text(json.dumps({**values, **changes}))
    return file


def test_results_of_another_spec_are_refused(tmp_path):
    then = Spec('base.py', {'none': {}, 'ELA': {'a.b': (1, 2)}}, 'none', 'mIoU')
    file = kept_result(then, tmp_path, 'ELA')
    assert results_of(then, str(tmp_path))['ELA'][0]['metric'] == 0.5
    for changes in (dict(entries={**then.entries, 'ELA': {'a.b': (1, 3)}}), dict(base='new.py')):
        now = replace(then, **changes)
        for use in (results_of, lambda *args: run_all(args[0], 'spec.py', args[1], [('ELA', 0)])):
            with pytest.raises(UserError) as error:
                use(now, str(tmp_path))
            assert str(file.parent) in str(error.value)
    with pytest.raises(UserError, match='mIoU'):
        results_of(replace(then, metric='mIuO'), str(tmp_path))


def test_a_dry_run_counts_the_runs_of_its_seeds(tmp_path, capsys):
    file = spec_of(tmp_path)
    kept_result(read_spec(file), tmp_path / 'out', 'none', seed=7)
    assert main([file, '--seeds', '1', '--out', str(tmp_path / 'out'), '--dry-run']) == 0
    assert '2 runs to go, about 2 min' in capsys.readouterr().out


def test_names_become_folders():
    assert slug('x + scale * ELA(x)') == 'x-scale-ela-x'
