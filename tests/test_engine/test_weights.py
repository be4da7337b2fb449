import pytest
import torch
from mmengine.config import Config

from mmela.engine import UserError, check_weights, load_config
from mmela.engine.checks.weights import check_checkpoint, required_weights


def config(**keys):
    return Config(dict(default_scope='mmdet', model=dict(type='A'), **keys))


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / 'good.pth'
    torch.save(dict(state_dict=dict(a=torch.zeros(1000))), path)
    return path


def complaint(cfg, split='train'):
    with pytest.raises(UserError) as error:
        check_weights(cfg, [split])
    return str(error.value)


@pytest.mark.parametrize(
    ('name', 'keys', 'switch'),
    [
        (
            'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
            ['model.backbone.init_cfg.checkpoint'],
            'model.backbone.init_cfg=None',
        ),
        (
            'mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py',
            ['model.pretrained'],
            'model.pretrained=None',
        ),
    ],
)
def test_pretrained_weights_of_a_config_are_found_with_their_switch(name, keys, switch):
    cfg = load_config(name)
    weights = required_weights(cfg, training=True)
    assert [w.key for w in weights] == keys and weights[0].switch == switch
    assert required_weights(load_config(name, [switch]), training=True) == []
    assert required_weights(cfg, training=False) == []


def test_weights_deep_in_a_model_are_found():
    cfg = config()
    init_cfg = [dict(type='Kaiming'), dict(type='Pretrained', checkpoint='x.pth')]
    cfg.model.parts = [dict(type='B', init_cfg=init_cfg)]
    assert [w.key for w in required_weights(cfg, True)] == ['model.parts.0.init_cfg.checkpoint']


def test_a_good_checkpoint_is_accepted(checkpoint):
    check_weights(config(load_from=str(checkpoint)), ['train'])


def test_a_missing_file_is_named_with_its_key_and_switch(tmp_path):
    text = complaint(config(load_from=str(tmp_path / 'no.pth')))
    assert text.startswith(f'load_from: there is no file {tmp_path}/no.pth')
    assert '--cfg-options load_from=None' in text


def test_a_missing_checkpoint_of_a_test_offers_what_is_there(checkpoint):
    text = complaint(config(load_from=str(checkpoint.with_name('god.pth'))), split='test')
    assert "did you mean 'good.pth'?" in text and 'load_from' not in text


@pytest.mark.parametrize(
    ('damage', 'words'),
    [
        (lambda content: content[: len(content) // 2], 'truncated'),
        (lambda content: b'<!DOCTYPE html>', 'it begins with'),
        (lambda content: b'', 'it begins with'),
        (lambda content: b'PK' + content[:50], 'not a PyTorch checkpoint'),
    ],
)
def test_a_broken_checkpoint_is_one_message(checkpoint, damage, words):
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    text = complaint(config(load_from=str(checkpoint)))
    assert words in text and '\n' not in text


def test_a_file_without_a_state_dict_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(UserError, match='expected a state dict .* got a list'):
        check_checkpoint(str(tmp_path / 'list.pth'))


@pytest.mark.parametrize(
    'address', ['http://127.0.0.1:9/weights.pth', 'open-mmlab://no_such_model', 'torchvision://x']
)
def test_weights_that_cannot_be_fetched_name_the_switch(address, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    cfg = config()
    cfg.model.backbone = dict(init_cfg=dict(type='Pretrained', checkpoint=address))
    text = complaint(cfg)
    assert text.startswith('model.backbone.init_cfg.checkpoint: ')
    assert address in text
    assert '--cfg-options model.backbone.init_cfg=None' in text
    assert '\n' not in text


def test_weights_in_the_cache_need_no_network(tmp_path, monkeypatch, checkpoint):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    cache = tmp_path / 'hub' / 'checkpoints'
    cache.mkdir(parents=True)
    checkpoint.rename(cache / 'weights.pth')
    check_weights(config(load_from='http://127.0.0.1:9/weights.pth'), ['train'])


def test_only_the_first_process_of_a_machine_looks(monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '1')
    check_weights(config(load_from='no.pth', launcher='pytorch'), ['train'])
