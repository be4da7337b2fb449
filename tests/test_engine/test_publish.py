"""A published checkpoint is the weights, small and loadable without trust."""

import pytest
import torch
from publish import publish
from torch import nn

from mmela.engine import UserError


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    network[1].running_var.fill_(1e6)  # more than float16 holds
    path = tmp_path / 'epoch_1.pth'
    contents = {
        'meta': {'epoch': 1, 'cfg': 'a text with paths', 'dataset_meta': {'classes': ('disc',)}},
        'state_dict': network.state_dict(),
        'optimizer': {'state': {}},
    }
    torch.save(contents, path)
    return str(path), network


def test_the_weights_and_the_classes_alone_are_kept(checkpoint, tmp_path):
    source, network = checkpoint
    size = publish(source, str(tmp_path / 'out' / 'a.pth'))
    published = torch.load(tmp_path / 'out' / 'a.pth', weights_only=True)
    assert published['meta'] == {'epoch': 1, 'dataset_meta': {'classes': ('disc',)}}
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


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / 'a.pth').write_text('not a checkpoint')
    with pytest.raises(UserError, match='a.pth'):
        publish(str(tmp_path / 'a.pth'), str(tmp_path / 'b.pth'))


def test_what_a_converter_says_of_the_images_is_kept(tmp_path):
    meta = dict(data_preprocessor=dict(mean=[1, 2, 3]), converted_for='its.py')
    torch.save(dict(meta=meta, state_dict={}), tmp_path / 'a.pth')
    publish(str(tmp_path / 'a.pth'), str(tmp_path / 'b.pth'))
    assert torch.load(tmp_path / 'b.pth', weights_only=True)['meta'] == meta
