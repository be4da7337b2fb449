"""The benchmarks: timing, memory and arithmetic, against figures by hand."""

import csv
import math
import time

import pytest
import torch

from benchmarks import Settings, measure_case, measure_network, report
from benchmarks.memory import measure_memory
from benchmarks.methods import METHODS
from benchmarks.model import INFERENCE, STEP
from benchmarks.shapes import LARGE_BYTES, Case, enlarge, find_cases
from benchmarks.timing import (
    best_medians,
    cpu_sampler,
    interleave,
    median_interval,
    time_pairs,
)
from mmela.engine import UserError, load_config

CPU = torch.device('cpu')
CASE = Case('given', 'given', 'B', (2, 32, 12, 16))
SMALL_METHODS = ['ELA lean', 'ELA fused', 'SE']


def settings(*methods, device=CPU):
    return Settings(device, torch.float32, methods=methods, rounds=3, repeats=1)


# Time.


@pytest.fixture
def work(monkeypatch):
    """Makes calls that take a time by a clock that nothing else advances."""
    now = [0.0]
    monkeypatch.setattr(time, 'perf_counter', lambda: now[0])

    def make(seconds, order=None, name=''):
        def call():
            now[0] += seconds
            if order is not None:
                order.append(name)

        return call

    return make


def test_a_sample_is_the_time_of_one_call(work):
    sample = cpu_sampler([work(0.002), work(0.004)], seconds=0.02)
    assert sample() == pytest.approx(0.003)


def test_samples_are_taken_in_turn_and_each_begins_a_round():
    order = []
    samplers = {name: lambda name=name: order.append(name) or 1.0 for name in 'abc'}
    samples = interleave(samplers, 3)
    assert ''.join(order) == 'abcbcacab'
    assert samples == dict.fromkeys('abc', [1.0, 1.0, 1.0])


def test_the_best_median_counts():
    values = iter([5.0, 1.0, 3.0, 2.0, 9.0, 4.0])  # medians 3 and 4
    assert best_medians({'a': lambda: next(values)}, rounds=3, repeats=2) == {'a': 3.0}


def test_pairs_take_turns_and_keep_their_order(work):
    order = []
    calls = work(0.002, order, 'a'), work(0.006, order, 'b')
    times = time_pairs(*calls, CPU, pairs=4)
    assert ''.join(order) == 'abbaabba'
    assert times == [pytest.approx([0.002, 0.006])] * 4


@pytest.mark.parametrize('count', [6, 25, 200])
def test_the_interval_covers_the_median_in_95_percent_by_the_binomial(count):
    """Of n values, those of ranks j < k hold the median with P(j <= Bin(n, 1/2) < k)."""
    interval = median_interval(range(1, count + 1))  # values are their own ranks
    inside = sum(math.comb(count, i) for i in range(interval.low, interval.high))
    assert 0.95 <= inside / 2**count
    narrower = sum(math.comb(count, i) for i in range(interval.low + 1, interval.high - 1))
    assert narrower / 2**count < 0.95
    assert interval.median == (count + 1) / 2


# Memory.


def test_memory_of_a_call_is_its_tensors():
    x = torch.rand(512, 1024)
    size = 512 * 1024 * 4

    def two_then_one():
        y = x.exp()
        z = y.exp()
        del y
        return z

    assert measure_memory(two_then_one, CPU) == (2 * size, size)


def test_memory_released_by_a_call_is_not_its_own():
    before = [torch.rand(512, 1024)]
    size = 512 * 1024 * 4

    def replace():
        before.clear()
        return torch.empty(512, 1024)

    assert measure_memory(replace, CPU) == (size, size)


def test_memory_knows_what_autograd_keeps_and_what_backward_makes():
    """sin(exp(x)) keeps exp(x). Backward adds the gradients of it and of x to that."""
    x = torch.rand(512, 1024, requires_grad=True)
    grad = torch.ones(512, 1024)
    size = x.numel() * 4
    forward = measure_memory(lambda: x.exp().sin(), CPU)
    assert forward.kept == 2 * size
    step = measure_memory(lambda: torch.autograd.grad(x.exp().sin(), x, grad), CPU)
    assert step.kept == size
    assert 3 * size <= step.peak <= 4 * size


def test_lean_keeps_vectors_and_plain_a_map():
    case = Case('given', 'given', 'B', (2, 32, 96, 96))
    size = 2 * 32 * 96 * 96 * 4
    strips = size * (1 / 96 + 1 / 96)
    _, plain, lean = measure_case(case, settings('ELA plain', 'ELA lean'))
    # Plain: the map times y_h, and a few vectors a strip. Lean: the two means, and
    # the same convolved.
    assert size <= plain.kept <= size + 5 * strips
    assert 2 * strips <= lean.kept <= 2.2 * strips
    # Lean: the output, then one full-size gradient, and vectors.
    assert 2 * size <= lean.training_peak <= 2.5 * size
    assert size <= lean.forward_peak <= size + 8 * strips


# Maps.


def test_large_maps_have_just_enough_images():
    images, *rest = enlarge((2, 128, 100, 168), itemsize=2)
    one = 128 * 100 * 168 * 2
    assert rest == [128, 100, 168]
    assert (images - 1) * one < LARGE_BYTES <= images * one


def test_groups_and_shapes_are_found():
    assert [case.map for case in find_cases(['cpu'], 4)] == [
        (2, 256, 100, 136), (2, 256, 56, 56), (8, 64, 80, 80)
    ]  # fmt: skip
    assert {case.network.split()[0] for case in find_cases(['real'], 4)} == {
        'YOLOX-S', 'Faster', 'DeepLabV3'
    }  # fmt: skip
    assert find_cases(['1x8x7x9'], 4)[0].map == (1, 8, 7, 9)
    assert all(case.buffers > 1 for case in find_cases(['large'], 2))


# Networks.


def test_a_network_is_compared_with_itself_without_attention(tiny_det):
    options = dict(pairs=0, shape=(64, 64), batch=2)
    result = measure_network(load_config(tiny_det), CPU, **options)
    assert result.places == 3
    # 64, 128 and 256 channels at strides 8, 16 and 32, two images, float32.
    outputs = 2 * (64 * 8 * 8 + 128 * 4 * 4 + 256 * 2 * 2) * 4
    for each in result.passes:
        assert each.output_bytes == outputs
        assert each.attention_bytes > each.plain_bytes
    # Seven parameters per channel (T) and `scale`, with their momentum and gradients.
    assert result.passes[0].memory_to_bound < 1.02

    again = measure_network(load_config(tiny_det), CPU, **options, recompute=True)
    assert again.passes[0].attention_bytes < result.passes[0].attention_bytes


def test_a_network_without_attention_is_refused(tiny_det):
    cfg = load_config(tiny_det)
    cfg.model.backbone.plugins = None
    with pytest.raises(UserError, match='no `plugins`'):
        measure_network(cfg, CPU, pairs=1, shape=(64, 64))


# Commands.


def read(path):
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_benchmark_ops_writes_what_it_promises(tool, tmp_path):
    status, _ = tool(
        'analysis_tools/benchmark_ops.py', '--device', 'cpu', '--quick', '--shapes', '2x32x12x16',
        '--methods', *SMALL_METHODS, '--out', tmp_path,
    )  # fmt: skip
    assert status == 0
    (path,) = tmp_path.glob('ops_*_float32_2x32x12x16_quick.csv')
    rows = read(path)
    assert tuple(rows[0]) == report.LAYER_COLUMNS
    assert [row['method'] for row in rows] == ['copy', *SMALL_METHODS]
    by_name = {row['method']: row for row in rows}
    assert float(by_name['ELA lean']['forward_us']) > 0
    assert by_name['ELA fused']['note'].startswith('not measured: ')
    assert all(torch.__version__ in row['versions'] for row in rows)
    text = path.with_suffix('.md').read_text()
    assert '`python benchmark_ops.py --device cpu --quick --shapes 2x32x12x16 --methods' in text


def test_benchmark_model_writes_what_it_promises(tool, tiny_seg, tmp_path):
    arguments = [tiny_seg, '--device', 'cpu', '--batch', '2', '--out', tmp_path]
    for option in (['--pairs', '1'], ['--memory-only']):
        status, stderr = tool('analysis_tools/benchmark_model.py', *arguments, *option)
        assert status == 0
        assert ('1 of 1 pairs' in stderr) == ('--pairs' in option)  # the progress
    (timed,) = tmp_path.glob('model_*_float32_tiny_seg.csv')
    (alone,) = tmp_path.glob('memory_*_float32_tiny_seg.csv')
    rows = read(timed)
    assert tuple(rows[0]) == report.NETWORK_COLUMNS
    assert [row['pass'] for row in rows] == [STEP, INFERENCE]
    assert rows[0]['attention_places'] == '6'  # two blocks in each of three stages
    for row, timed_row in zip(read(alone), rows, strict=True):
        assert row['plain_ms'] == row['time_ratio'] == '' != timed_row['plain_ms']
        for column in ('plain_bytes', 'attention_bytes', 'attention_output_bytes'):
            assert row[column] == timed_row[column]
    assert 'time ratio' in timed.with_suffix('.md').read_text()
    assert 'time ratio' not in alone.with_suffix('.md').read_text()


USER_ERRORS = {
    'no GPU': ('benchmark_ops.py', ['--device', 'cuda'], '--device cpu'),
    'no shape': ('benchmark_ops.py', ['--device', 'cpu', '--shapes', '2x32'], "got '2x32'"),
    'mixed precision on a CPU': (
        'benchmark_model.py',
        ['--device', 'cpu', '--dtype', 'bfloat16'],
        '--dtype float32',
    ),
}


@pytest.mark.parametrize(('name', 'words', 'expected'), USER_ERRORS.values(), ids=USER_ERRORS)
def test_a_user_error_is_one_sentence_and_status_2(name, words, expected, tool, tiny_det):
    if 'cuda' in words and torch.cuda.is_available():
        pytest.skip('there is a GPU')
    config = [tiny_det] if 'model' in name else []
    status, err = tool(f'analysis_tools/{name}', *config, *words)
    assert status == 2
    assert 'error: ' in err and expected in err and 'Traceback' not in err


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_every_layer_runs_on_a_gpu():
    methods = [name for name in METHODS if name != 'ELA compiled']
    for result in measure_case(CASE, settings(*methods, device=torch.device('cuda'))):
        assert result.note or result.forward > 0
        assert result.method == 'copy' or result.note or result.host_training > 0
