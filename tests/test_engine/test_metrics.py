import json
import math

import numpy as np
import torch

from mmela.engine.metrics import print_metrics, write_metrics

METRICS = {'coco/bbox_mAP': 0.25, 'mIoU': np.float32(71.55), 'top1': torch.tensor(0.5), 'n': 3}


def test_metrics_are_one_flat_object_of_names_and_numbers(tmp_path):
    path = write_metrics(METRICS, str(tmp_path / 'work'))
    assert path == str(tmp_path / 'work' / 'metrics.json')
    assert json.loads(open(path).read()) == {
        'coco/bbox_mAP': 0.25,
        'mIoU': 71.55,
        'top1': 0.5,
        'n': 3,
    }


def test_what_is_no_finite_number_is_null(tmp_path):
    path = write_metrics({'a': math.nan, 'b': math.inf, 'c': 'text'}, str(tmp_path))
    assert json.loads(open(path).read()) == {'a': None, 'b': None, 'c': None}


def test_the_table_shows_every_metric(capsys):
    print_metrics(METRICS, 'epoch_1.pth')
    out = capsys.readouterr().out
    assert 'epoch_1.pth' in out and '0.2500' in out and '71.5500' in out
    assert all(name in out for name in METRICS)
