import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmela import runtime
from mmela.errors import ConfigError
from mmela.runtime.plugin_check import check_plugins

RETINA = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'
ELA = dict(type='mmela.ELA', variant='T')
AFTER_CONV2 = dict(cfg=ELA, position='after_conv2')


def config(scope='mmdet', **backbone):
    backbone.setdefault('plugins', [AFTER_CONV2])
    return Config(dict(default_scope=scope, model=dict(type='Net', backbone=backbone)))


@pytest.mark.parametrize(
    ('scope', 'name', 'depth', 'told'),
    [
        ('mmdet', 'ResNet', 18, "type='mmela.DetResNet'"),
        ('mmdet', 'ResNetV1d', 34, 'deep_stem=True, avg_down=True'),
        ('mmseg', 'ResNet', 34, "type='mmela.SegResNet'"),
        ('mmseg', 'ResNetV1c', 18, "type='mmela.SegResNetV1c'"),
        ('mmseg', 'mmdet.ResNet', 18, "type='mmela.DetResNet'"),
        ('mmdet', 'mmseg.ResNetV1c', 18, "type='mmela.SegResNetV1c'"),
    ],
)
def test_basic_blocks_of_a_toolbox_name_the_network_that_takes_plugins(scope, name, depth, told):
    with pytest.raises(ConfigError) as error:
        check_plugins(config(scope, type=name, depth=depth))
    text = str(error.value)
    assert 'model.backbone.plugins: ' in text and 'basic blocks' in text and told in text


@pytest.mark.parametrize('name', ['CSPDarknet', 'mmdet.CSPDarknet'])
def test_a_forgotten_prefix_is_named(name):
    with pytest.raises(ConfigError, match=r"type='mmela\.CSPDarknet'"):
        check_plugins(config(type=name))


@pytest.mark.parametrize(
    ('plugins', 'told'),
    [
        ([dict(cfg=ELA, position='after_stage')], 'after_conv1, after_conv2, after_conv3'),
        ([dict(AFTER_CONV2, stages=(True,))], 'each of the 4 stages'),
        ([dict(AFTER_CONV2, stage=(True,))], "did you mean 'stages'?"),
        ([dict(AFTER_CONV2, cfg=dict(ELA, colour='red'))], 'colour'),
        ([dict(AFTER_CONV2, cfg=dict(ELA, variant='X'))], 'T, B, S, L'),
        ([dict(AFTER_CONV2, cfg=dict(type='mmela.EAL'))], "did you mean 'ELA'?"),
        ([dict(AFTER_CONV2, cfg=dict(type='ContextBlock'))], 'ratio'),
        ([AFTER_CONV2, dict(AFTER_CONV2, position='after_conv3')], 'postfix'),
    ],
)
@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_a_mistake_in_plugins_of_a_bottleneck_resnet_is_a_sentence(scope, plugins, told):
    with pytest.raises(ConfigError) as error:
        check_plugins(config(scope, type='ResNet', depth=50, plugins=plugins))
    assert told in str(error.value) and f'{scope}.ResNet (model.backbone)' in str(error.value)


@pytest.mark.parametrize(
    'name',
    [
        'mmdet::gcnet/mask-rcnn_r50-syncbn-gcb-r4-c3-c5_fpn_1x_coco.py',
        'mmdet::empirical_attention/faster-rcnn_r50-attn1111_fpn_1x_coco.py',
        'mmdet::yolox/yolox_nano_8xb8-300e_coco.py',
        RETINA,
    ],
)
def test_configs_of_the_toolboxes_pass(name):
    check_plugins(runtime.load_config(name))


def test_plugins_that_the_toolbox_takes_pass():
    second = dict(AFTER_CONV2, cfg=dict(ELA, postfix='2'))
    check_plugins(config(type='ResNet', depth=50, plugins=[AFTER_CONV2, second]))
    check_plugins(config(type='ResNet', depth=18, plugins=None))
    check_plugins(config(type='mmela.DetResNet', depth=18))
    check_plugins(config(type='other.CSPDarknet'))


def test_a_layer_that_needs_values_when_it_is_built_passes():
    class Layer(nn.Module):
        def __init__(self, in_channels):
            super().__init__()
            nn.Parameter(torch.ones(in_channels)).detach().numpy()

    check_plugins(
        config(type='ResNet', depth=50, plugins=[dict(AFTER_CONV2, cfg=dict(type=Layer))])
    )


@pytest.mark.parametrize('run', [runtime.train, lambda cfg, **k: runtime.test(cfg, 'x.pth', **k)])
def test_training_and_testing_look_at_the_plugins_first(run, monkeypatch):
    monkeypatch.setattr('mmela.runtime.testing.check_weights', lambda *a, **k: None)
    cfg = runtime.load_config(RETINA)
    cfg.model.backbone.plugins = [AFTER_CONV2]
    with pytest.raises(ConfigError, match='basic blocks'):
        run(cfg, data_check=False)
