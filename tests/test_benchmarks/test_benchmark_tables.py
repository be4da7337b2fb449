"""The tables of the benchmarks, against figures by hand."""

import torch

from benchmarks import Machine, Settings, report
from benchmarks.layers import LayerResult
from benchmarks.model import INFERENCE, STEP, NetworkResult, Pass
from benchmarks.shapes import Case
from benchmarks.timing import Interval

MACHINE = Machine('CPU', 2, 'torch 0')


def test_ratios_compare_samples_of_the_same_rounds():
    case = Case('cpu', 'net', 'B', (2, 256, 100, 136))
    results = [
        LayerResult(case, 'copy', forward=2e-3, training=4e-3),
        LayerResult(case, 'ELA lean', forward=5e-3, training=60e-3, kept=10),
        LayerResult(case, 'SE', note='not measured: no reason'),
    ]
    settings = Settings(torch.device('cpu'), torch.float32)
    rows = report.layer_rows(results, settings, MACHINE)
    assert tuple(rows[0]) == report.LAYER_COLUMNS
    by_name = {row['method']: row for row in rows}
    assert by_name['ELA lean']['forward_us'] == 5000
    assert by_name['ELA lean']['forward_copies'] == 2.5  # 5 / 2
    assert by_name['ELA lean']['training_copies'] == 15  # 60 / 4
    assert by_name['SE']['forward_us'] == by_name['SE']['training_copies'] == ''
    assert by_name['copy']['map_bytes'] == 2 * 256 * 100 * 136 * 4
    table = report.layer_table(rows)
    assert '| ELA lean ' in table
    assert 'SE: not measured: no reason.' in table


def test_memory_of_a_network_is_compared_with_the_outputs_that_must_be_kept():
    figures = (1.0, 1.1, Interval(1.1, 1.0, 1.2), 1000, 1320, 200)
    step, inference = Pass(STEP, *figures), Pass(INFERENCE, *figures)
    assert step.memory_ratio == 1.32
    assert step.memory_to_bound == 1.1  # 1320 / (1000 + 200)
    assert inference.memory_to_bound is None
    result = NetworkResult('a/net.py', 2, (64, 64), 'float32', 9, 3, (step, inference))
    rows = report.network_rows([result], MACHINE)
    assert (rows[0]['plain_ms'], rows[0]['attention_ms']) == (1000, 1100)
    assert '1.000 to 1.200' in report.network_table(rows)
