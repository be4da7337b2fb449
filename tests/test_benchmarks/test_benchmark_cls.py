"""The benchmark of a whole classifier, against figures by hand."""

from pathlib import Path

import pytest
import torch

from benchmarks import measure_network
from benchmarks.inputs import make_inputs
from benchmarks.model import INFERENCE, STEP
from mmela.engine import load_config

pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')

TINY = Path(__file__).parents[1] / 'test_engine' / 'configs' / 'tiny_cls.py'
CPU = torch.device('cpu')


def test_a_classifier_is_timed_with_its_attention_and_without():
    result = measure_network(load_config(TINY), CPU, pairs=1, shape=(64, 64), batch=2)
    assert [item.name for item in result.passes] == [STEP, INFERENCE]
    assert result.batch == 2 and result.shape == (64, 64)
    assert result.places == 6  # two basic blocks in each of three stages
    step, inference = result.passes
    # Float32 maps of a batch of 2: 16, 32 and 64 channels at strides of 8, 16 and 32, twice each.
    outputs = 4 * 2 * 2 * (16 * 8 * 8 + 32 * 4 * 4 + 64 * 2 * 2)
    assert step.output_bytes == inference.output_bytes == outputs
    for item in result.passes:
        assert min(item.plain, item.attention) > 0
        assert item.ratio.low <= item.ratio.median <= item.ratio.high
        assert item.attention_bytes > item.plain_bytes
    assert inference.memory_to_bound is None


def test_synthetic_labels_are_classes_of_the_head():
    batch = make_inputs(load_config(TINY), (32, 48), 20, CPU)
    assert {tuple(image.shape) for image in batch['inputs']} == {(3, 32, 48)}
    assert {int(sample.gt_label) for sample in batch['data_samples']} == {0, 1, 2}
