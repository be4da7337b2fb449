"""The tables of the benchmarks and their targets, against figures by hand."""

import dataclasses
import math

import pytest
import torch

from benchmarks import Machine, Settings, report
from benchmarks.layers import LayerResult
from benchmarks.model import INFERENCE, STEP, NetworkResult, Pass
from benchmarks.shapes import Case
from benchmarks.targets import find_targets, network_targets, unit_bytes
from benchmarks.timing import Interval
from mmela import ELA

CPU = torch.device('cpu')
ON_CPU = Settings(CPU, torch.float32)


@pytest.mark.parametrize(
    ('variant', 'channels', 'unit'), [('S', 64, 8), ('S', 192, 24), ('L', 960, 120), ('T', 256, 8)]
)
def test_closed_units_are_those_of_the_layer(variant, channels, unit):
    case = Case('large', '', variant, (1, channels, 10, 20))
    layer = ELA(channels, variant)
    fan, group = channels // layer.conv.groups, channels // layer.gn.num_groups
    assert unit % fan == unit % group == 0
    assert unit_bytes(case, 2) == unit * 10 * 20 * 2


def results_by_hand(group='cpu', shape=(2, 256, 100, 136)):
    case = Case(group, 'net', 'B', shape)
    return [
        LayerResult(case, 'copy', forward=2e-3, training=4e-3),
        LayerResult(case, 'ELA plain', forward=8e-3, training=100e-3, kept=1000),
        LayerResult(case, 'ELA lean', forward=5e-3, training=60e-3, kept=10),
        LayerResult(case, 'timm ELA', forward=5e-3, training=50e-3),
        LayerResult(case, 'SE', note='not measured: no reason'),
    ]


def test_ratios_are_those_of_one_stretch_of_time():
    rows = report.layer_rows(results_by_hand(), ON_CPU, Machine('CPU', 2, 'torch 0'))
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


def test_targets_stand_beside_what_was_measured():
    first = find_targets(results_by_hand(), ON_CPU)
    assert {each.subject for each in first} == {'2x256x100x136 (cpu)'}
    assert [(each.what, each.value, each.limit, each.verdict) for each in first[:-1]] == [
        ('forward / timm ELA', 1.0, 0.9, 'missed'),
        ('forward / plain', 0.625, 1.0, 'met'),
        ('forward + backward / plain', 0.6, 0.7, 'met'),
        ('forward + backward / timm ELA', 1.2, 1.0, 'missed'),
    ]
    second = find_targets(results_by_hand(shape=(2, 256, 56, 56))[:3], ON_CPU)
    assert second[0].verdict == 'not measured'
    assert second[2].limit == 1.0
    assert find_targets(results_by_hand('real'), ON_CPU) == []


def test_targets_of_a_gpu_count_copies_by_what_fits_on_chip():
    case = Case('large', 'net', 'B', (300, 256, 50, 84))  # units of 16 channels: 131 KB in bfloat16
    results = [
        LayerResult(case, 'copy', forward=1e-3, training=1e-3),
        LayerResult(case, 'ELA plain', forward=6e-3, training=20e-3),
        LayerResult(case, 'ELA fused', forward=1.2e-3, training=4e-3),
        LayerResult(case, 'CoordAtt', forward=1e-3, training=8e-3),
        LayerResult(case, 'CBAM', forward=9e-3, training=30e-3),
    ]
    gpu = Settings(torch.device('cuda'), torch.bfloat16)
    found = {each.what: (each.value, each.limit) for each in find_targets(results, gpu)}
    assert found['forward, copies (on chip)'] == (pytest.approx(1.2), 1.25)
    assert found['forward + backward, copies (on chip)'] == (pytest.approx(4), 3.2)
    assert found['forward + backward / plain'] == (pytest.approx(0.2), 0.333)
    assert found['forward + backward / torch.compile'] == (None, 0.8)
    assert found['forward / fastest spatial rival'] == (pytest.approx(1.2), 1.0)


def test_a_layer_may_keep_two_sets_of_strips_and_no_map():
    shape = (2, 256, 100, 136)
    strips = 2 * 256 * (100 + 136) * 4  # bytes of one set
    verdicts = {}
    for sets in (1, 2, 3):
        results = results_by_hand()
        results[2] = dataclasses.replace(results[2], kept=sets * strips)
        kept = find_targets(results, ON_CPU)[-1]
        assert kept.what == 'kept beside x, in maps'
        assert kept.value == pytest.approx(sets * strips / (math.prod(shape) * 4))
        verdicts[sets] = kept.verdict
    assert verdicts == {1: 'met', 2: 'met', 3: 'missed'}


def network_by_hand(config, ratio, attended_bytes):
    ratio = None if ratio is None else Interval(ratio, ratio, ratio)
    step = Pass(STEP, 1.0, 1.0, ratio, 1000, attended_bytes, 200)
    return NetworkResult(config, 2, (64, 64), 'float32', 0, 3, (step, step))


def test_targets_of_networks_hold_memory_everywhere_and_time_on_a_gpu():
    results = [
        network_by_hand('configs/det/yolox/yolox_s-ela.py', 1.02, 1210),
        network_by_hand('faster-rcnn_r50-ela.py', 1.02, 1220),
        network_by_hand('deeplabv3_r50-ela.py', None, 1210),
    ]
    on_cpu = network_targets(results, CPU)
    assert [(each.subject, each.verdict) for each in on_cpu] == [
        ('yolox_s-ela', 'met'), ('faster-rcnn_r50-ela', 'missed'), ('deeplabv3_r50-ela', 'met')
    ]  # fmt: skip
    assert {(each.what, each.limit) for each in on_cpu} == {
        ('training step, memory to bound', 1.01)
    }
    times = [t for t in network_targets(results, torch.device('cuda')) if 'time' in t.what]
    assert [(each.limit, each.verdict) for each in times] == [
        (1.01, 'missed'), (1.03, 'met'), (1.03, 'not measured')
    ]  # fmt: skip


def test_memory_of_a_network_is_held_against_the_outputs_it_must_keep():
    figures = (1.0, 1.1, Interval(1.1, 1.0, 1.2), 1000, 1320, 200)
    step = Pass(STEP, *figures)
    assert step.memory_ratio == 1.32
    assert step.memory_to_bound == 1.1  # 1320 / (1000 + 200)
    assert Pass(INFERENCE, *figures).memory_to_bound is None
