"""The paired pass: every entry is timed on the reference's batch."""

import json
from dataclasses import replace

import torch

from mmela.analysis.compare import speed
from mmela.analysis.compare.spec import Spec
from mmela.engine import load_config

RESIZE = {
    'type': 'BatchSyncRandomResize',
    'random_size_range': (64, 96),
    'size_divisor': 32,
    'interval': 1,
}


def test_all_entries_are_timed_on_one_batch(tiny_det, shapes_root, tmp_path, monkeypatch):
    """Also where the data preprocessor asks a runner for its iteration."""
    images, time_of = {}, speed._Subject.time_of

    def watched(self, kind):
        images[id(self)] = torch.stack(self._batch['inputs']).float()
        return time_of(self, kind)

    monkeypatch.setattr(speed._Subject, 'time_of', watched)
    pipeline = load_config(tiny_det).train_dataloader.dataset.pipeline
    pipeline.insert(-1, {'type': 'PhotoMetricDistortion'})
    options = {
        'train_dataloader.dataset.pipeline': pipeline,
        'data_root': str(shapes_root),
        'load_from': None,
        'model.data_preprocessor.batch_augments': [RESIZE],
    }
    spec = Spec(
        tiny_det, {'none': {'model.backbone.plugins': None}, 'ELA': {}}, 'none', 'x', options
    )
    table = speed.measure_speed(spec, str(tmp_path), pairs=1)
    first, *others = images.values()
    assert len(others) == 2 and all(torch.equal(first, other) for other in others)
    found = json.loads((tmp_path / speed.SPEED).read_text())
    assert all(row['step'] > 0 and row['inference'] > 0 for row in found.values())
    assert list(found) == ['none', 'ELA'] and 'ELA' in table

    speed.measure_speed(spec, str(tmp_path), ['ELA'], pairs=1)
    again = speed.read_speed(spec, str(tmp_path))
    assert again['none'] == found['none'] and again['ELA'] != found['ELA']
    # what was measured of another network is not reported, nor what does not say of which
    entries = {**spec.entries, 'ELA': {'model.backbone.plugins.0.cfg.variant': 'B'}}
    assert list(speed.read_speed(replace(spec, entries=entries), str(tmp_path))) == ['none']
    (tmp_path / speed.SPEED).write_text(json.dumps({'ELA': {'step': 1.0}}))
    assert speed.read_speed(spec, str(tmp_path)) == {}


def test_images_of_unequal_sizes_are_padded_as_in_a_training(tiny_seg, shapes_root, tmp_path):
    pipeline = load_config(tiny_seg).train_dataloader.dataset.pipeline
    pipeline.insert(-1, {'type': 'RandomChoiceResize', 'scales': [(64, 64), (96, 96), (128, 128)]})
    options = {
        'train_dataloader.dataset.pipeline': pipeline,
        'model.data_preprocessor.size': (128, 128),
        'data_root': str(shapes_root),
    }
    spec = Spec(
        tiny_seg, {'none': {'model.backbone.plugins': None}, 'ELA': {}}, 'none', 'x', options
    )
    subject = speed._Subject(spec, 'none')
    assert len({image.shape for image in subject._batch['inputs']}) > 1
    speed.measure_speed(spec, str(tmp_path), pairs=1)
    assert list(speed.read_speed(spec, str(tmp_path))) == ['none', 'ELA']
