"""What a report says of the results that are there."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from kept_results import NONE, WORSE, kept_result
from scipy import stats

from mmela.analysis.compare.cell import folder_of
from mmela.analysis.compare.report import write_report
from mmela.analysis.compare.schedule import results_of
from mmela.analysis.compare.spec import Spec
from mmela.analysis.compare.tables import comparisons
from mmela.analysis.complexity import Complexity
from mmela.engine import UserError


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
    for entry, runs in values.items():
        for seed, (of_all, of_dress) in enumerate(runs):
            metrics = {'mIoU': of_all, 'IoU/dress': of_dress, 'IoU/hat': math.nan}
            validations = {step: {'mIoU': of_all - 8 + step} for step in (2, 6, 8)}
            kept_result(spec, tmp_path, entry, seed, metrics=metrics, validations=validations)
    results = results_of(spec, str(tmp_path))
    write_report(spec, results, 'spec.py', str(tmp_path), unit='epoch')
    page = (tmp_path / 'report.md').read_text()
    test = stats.ttest_rel(values['ELA'][:, 1], values['none'][:, 1])
    low, high = test.confidence_interval()
    mean = values['none'][:, 1].mean()
    # a standard deviation of a few points: two digits of it are one decimal
    difference = f'{values["ELA"][:, 1].mean() - mean:+.1f} ({low:+.1f} to {high:+.1f})'
    assert f'| IoU/dress | {mean:.1f} | {difference} |' in page and 'IoU/hat' not in page
    assert 'at epochs 6 and 8, none changed by +2.0 on average' in page
    assert 'at the last validation of each run' not in page  # the same number again
    assert (tmp_path / 'curves.png').is_file()


def test_validations_of_other_images_than_the_test_are_a_second_look(tmp_path):
    spec = Spec('base.py', {'none': {}, 'ELA': {}}, 'none', 'accuracy/top1')
    last = np.random.default_rng(1).normal(60, 3, (2, 5))
    for entry, values in zip(spec.entries, last, strict=True):
        for seed, value in enumerate(values):
            validations = {step: {'accuracy/top1': value - 10 + step} for step in (2, 10)}
            metrics = {'accuracy/top1': value - 4 + seed}
            kept_result(spec, tmp_path, entry, seed, metrics=metrics, validations=validations)
    write_report(spec, results_of(spec, str(tmp_path)), 'spec.py', str(tmp_path))
    low, high = stats.ttest_rel(last[1], last[0]).confidence_interval()
    difference = f'{last[1].mean() - last[0].mean():+.1f} ({low:+.1f} to {high:+.1f})'
    page = (tmp_path / 'report.md').read_text()
    table = page.split('accuracy/top1 at the last validation of each run')[1]
    assert f'| none | 5 | {last[0].mean():.1f} |  |' in table
    assert f'| ELA | 5 | {last[1].mean():.1f} | {difference} |' in table


def test_a_report_of_what_is_there(tmp_path):
    """Fewer seeds than the reference, a class that one test lacks, a run without a result."""
    spec = Spec('base.py', {'none': {}, 'ELA': {}, 'SE': {}}, 'none', 'mIoU')
    values = {'none': [50.0, 51.0, 55.0], 'ELA': [49.0, 52.0], 'SE': []}
    for entry, numbers in values.items():
        for seed, number in enumerate(numbers):
            bag = math.nan if (entry, seed) == ('none', 0) else number
            # the first validation of the reference found nothing
            steps = (24, 36) if (entry, seed) == ('none', 0) else (12, 24)
            validations = {step: {'mIoU': number} for step in steps}
            metrics = {'mIoU': number, 'IoU/bag': bag}
            kept_result(spec, tmp_path, entry, seed, metrics=metrics, validations=validations)
    kept_result(spec, tmp_path, 'SE', seed=7, metrics={'mIoU': 60.0})
    folder_of(tmp_path, 'ELA', 2).mkdir(parents=True)
    write_report(spec, results_of(spec, str(tmp_path)), 'spec.py', str(tmp_path))
    page = (tmp_path / 'report.md').read_text()
    assert 'ELA has 2 of the 3 seeds of none; over these the mean of none is 50.5' in page
    assert 'Begun and without a result: ELA seed2' in page
    assert '- SE: no result yet.' in page and 'SE has no seed in common with none' in page
    # the differences of the bags: seed 1 alone
    assert '| IoU/bag | 53.0 | +1.0 |' in page


def test_runs_of_different_machines_are_named(tmp_path):
    spec = Spec('base.py', {'none': {}, 'ELA': {}}, 'none', 'mIoU')
    for entry, threads in (('none', 1), ('ELA', 2)):
        kept_result(spec, tmp_path, entry, threads=threads, torch='2.13.0')
    write_report(spec, results_of(spec, str(tmp_path)), 'spec.py', str(tmp_path))
    page = (tmp_path / 'report.md').read_text()
    assert 'The runs differ in threads: 1, 2.' in page and 'differ in torch' not in page
    assert '`OMP_NUM_THREADS=2 mmela compare spec.py --entry ELA' in page


def test_no_box_counts_as_zero_in_all_metrics_of_boxes_and_in_no_other(tmp_path):
    spec = Spec('base.py', {'none': {}, 'ELA': {}}, 'none', 'coco/bbox_mAP')
    metrics = {'coco/bbox_mAP': 0.5, 'coco/bbox_mAP_s': 0.25}
    for seed, found in enumerate((metrics, {})):
        kept_result(spec, tmp_path, 'none', seed, metrics=found)
        kept_result(spec, tmp_path, 'ELA', seed, metrics=metrics)
    results = results_of(spec, str(tmp_path))
    for metric, value in metrics.items():
        assert comparisons(spec, results, metric)['none'].mean == value / 2
    with pytest.raises(UserError, match='accuracy/top1'):
        results_of(replace(spec, metric='accuracy/top1'), str(tmp_path))


def test_the_report_has_the_cost_of_each_entry(tmp_path):
    spec = Spec('base.py', {'none': {}, 'ELA-B': {}}, 'none', 'mIoU')
    costs = {
        'none': Complexity((32, 64), 1000, 2_000_000),
        'ELA-B': Complexity((32, 64), 1000, 2_000_000, attention_params=10),
    }
    ratios = {'step': 1.25, 'inference': 1.5, 'peak memory': None}
    speed = {'ELA-B': {**ratios, 'measured': 'pairs on a CPU', 'setting': spec.setting('ELA-B')}}
    (tmp_path / 'speed.json').write_text(json.dumps(speed))
    write_report(spec, {}, 'spec.py', str(tmp_path), costs)
    page = (tmp_path / 'report.md').read_text()
    assert '| none | 1,000 | 2.0 M |' in page
    assert '| ELA-B | 1,010 | 2.0 M | 1.250 | 1.500 |' in page
    assert 'of one image of 32 x 64 pixels' in page and 'medians of pairs on a CPU' in page
    assert 'how exact they are' not in page

    speed['none'] = {**ratios, 'measured': 'pairs on a GPU', 'setting': spec.setting('none')}
    (tmp_path / 'speed.json').write_text(json.dumps(speed))
    write_report(spec, {}, 'spec.py', str(tmp_path), costs)
    page = (tmp_path / 'report.md').read_text()
    assert 'Times and memory of none are ratios to none, medians of pairs on a GPU.' in page
    assert 'The row of none, another network of the same config' in page

    costs['ELA-B'] = replace(costs['ELA-B'], shape=(64, 64))
    write_report(spec, {}, 'spec.py', str(tmp_path), costs)
    page = (tmp_path / 'report.md').read_text()
    assert '2.0 M at 32 x 64 |' in page and '2.0 M at 64 x 64 |' in page
