import json
import math

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS
from sklearn.metrics import jaccard_score

from mmela.engine.metrics import by_class, print_metrics, write_metrics

VALUES = {'coco/bbox_mAP': 0.25, 'mIoU': np.float32(71.55), 'top1': torch.tensor(0.5), 'n': 3}


def test_metrics_are_one_flat_object_of_names_and_numbers(tmp_path):
    path = write_metrics(VALUES, str(tmp_path / 'work'))
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
    print_metrics(VALUES, 'epoch_1.pth')
    out = capsys.readouterr().out
    assert 'epoch_1.pth' in out and '0.2500' in out and '71.5500' in out
    assert all(name in out for name in VALUES)


def test_a_list_with_a_value_of_each_class_has_their_names():
    metrics = {'recall': [71.4, 65.0], 'top1': 68.0, 'counts': [1, 2, 3]}
    named = by_class(metrics, ('dress', 'hat'))
    assert named == {'recall/dress': 71.4, 'recall/hat': 65.0, 'top1': 68.0, 'counts': [1, 2, 3]}
    assert by_class(metrics, ()) == metrics


def test_the_iou_of_each_class_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 4, (2, 3, 16, 16))
    labels[labels == 3] = 255  # the fourth class has no pixel
    predicted[predicted == 3] = 0
    metric = METRICS.build(dict(type='mmela.ClasswiseIoUMetric', iou_metrics=['mIoU']))
    metric.dataset_meta = dict(classes=('a', 'b', 'c', 'd'))
    for label, guess in zip(labels, predicted, strict=True):
        sample = dict(
            gt_sem_seg=dict(data=torch.from_numpy(label)[None]),
            pred_sem_seg=dict(data=torch.from_numpy(guess)[None]),
        )
        metric.process({}, [sample])
    metrics = metric.evaluate(len(labels))
    seen = labels != 255
    expected = jaccard_score(labels[seen], predicted[seen], average=None) * 100
    assert [metrics[f'IoU/{of}'] for of in 'abc'] == pytest.approx(expected, abs=0.006)
    assert math.isnan(metrics['IoU/d'])
    assert metrics['mIoU'] == pytest.approx(expected.mean(), abs=0.006)
