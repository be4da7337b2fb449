"""A published checkpoint is small, safe to load, and enough for inference."""

import numpy as np
import pytest
import torch
from publish import publish
from torch import nn

from mmela import engine
from mmela.engine import UserError

CONFIG = "model = dict(\n    type='A')\nwork_dir = '/home/me/a'\nresume = True\nx = 1\n"


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    network[1].running_var.fill_(1e6)  # more than float16 holds
    contents = {
        'meta': {'epoch': 1, 'cfg': CONFIG, 'dataset_meta': {'classes': ('disc',)}, 'time': 'now'},
        'state_dict': network.state_dict(),
        'optimizer': {'state': {}},
    }
    torch.save(contents, tmp_path / 'epoch_1.pth')
    return str(tmp_path / 'epoch_1.pth'), network


def test_weights_classes_and_config_are_kept_without_local_settings(checkpoint, tmp_path):
    source, network = checkpoint
    size = publish(source, str(tmp_path / 'out' / 'a.pth'))
    published = torch.load(tmp_path / 'out' / 'a.pth', weights_only=True)
    cfg = "model = dict(\n    type='A')\nx = 1\n"
    assert published['meta'] == {'epoch': 1, 'dataset_meta': {'classes': ('disc',)}, 'cfg': cfg}
    assert set(published) == {'meta', 'state_dict'}
    assert size == (tmp_path / 'out' / 'a.pth').stat().st_size
    for name, tensor in network.state_dict().items():
        assert torch.equal(published['state_dict'][name], tensor)


def test_half_stores_kernels_in_float16_and_statistics_as_they_are(checkpoint, tmp_path):
    source, network = checkpoint
    publish(source, str(tmp_path / 'a.pth'), half=True)
    weights = torch.load(tmp_path / 'a.pth', weights_only=True)['state_dict']
    assert weights['0.weight'].dtype == torch.float16
    assert weights['1.running_var'].dtype == torch.float32
    network.load_state_dict(weights)
    assert network[1].running_var.max() == 1e6


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / 'a.pth').write_text('not a checkpoint')
    with pytest.raises(UserError, match='a.pth'):
        publish(str(tmp_path / 'a.pth'), str(tmp_path / 'b.pth'))


def test_what_a_converter_records_about_the_images_is_kept(tmp_path):
    meta = dict(data_preprocessor=dict(mean=[1, 2, 3]), converted_for='its.py')
    torch.save(dict(meta=meta, state_dict={}), tmp_path / 'a.pth')
    publish(str(tmp_path / 'a.pth'), str(tmp_path / 'b.pth'))
    assert torch.load(tmp_path / 'b.pth', weights_only=True)['meta'] == meta


@pytest.mark.long
@pytest.mark.core
def test_a_published_detector_needs_no_config(tool, tiny_det, shapes_root, tmp_path, monkeypatch):
    """`DetInferencer(weights=...)` finds what it finds with the config and the checkpoint."""
    from mmdet.apis import DetInferencer

    monkeypatch.chdir(tmp_path)
    overrides = {'data_root': str(shapes_root), 'model.test_cfg.score_thr': 0}
    cfg = engine.load_config(tiny_det, overrides, 'work')
    engine.train(cfg)
    status, _ = tool('model_converters/publish_model.py', 'work/epoch_1.pth', 'published.pth')
    assert status == 0
    text = torch.load('published.pth', weights_only=True)['meta']['cfg']
    assert 'mmela.CSPDarknet' in text and 'work_dir' not in text

    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    options = dict(device='cpu', show_progress=False)
    alone = DetInferencer(weights='published.pth', **options)(image)['predictions']
    both = DetInferencer(cfg, 'work/epoch_1.pth', **options)(image)['predictions']
    assert alone == both and alone[0]['scores']
