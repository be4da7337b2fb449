import copy

import pytest
import torch
from mmdet.models.backbones.csp_darknet import CSPDarknet
from mmdet.models.backbones.resnet import ResNet
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mmela import engine
from mmela.engine.checks.plugins import check_plugins
from mmela.errors import ConfigError, UserError

RETINA = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'
ELA = dict(type='mmela.ELA', variant='T')
AFTER_CONV2 = dict(cfg=ELA, position='after_conv2')
SHORT = dict(AFTER_CONV2, stages=(True,))


def check(cfg):
    check_plugins(cfg, ['train'])


def config(scope='mmdet', **backbone):
    backbone.setdefault('plugins', [AFTER_CONV2])
    return Config(dict(default_scope=scope, model=dict(type='Net', backbone=backbone)))


@pytest.mark.parametrize(
    ('scope', 'name', 'depth', 'words'),
    [
        ('mmdet', 'ResNet', 18, "type='mmela.DetResNet'"),
        ('mmdet', 'ResNetV1d', 34, 'deep_stem=True, avg_down=True'),
        ('mmseg', 'ResNet', 34, "type='mmela.SegResNet'"),
        ('mmseg', 'ResNetV1c', 18, "type='mmela.SegResNetV1c'"),
        ('mmseg', 'mmdet.ResNet', 18, "type='mmela.DetResNet'"),
        ('mmdet', 'mmseg.ResNetV1c', 18, "type='mmela.SegResNetV1c'"),
    ],
)
def test_basic_blocks_of_a_toolbox_name_the_network_that_takes_plugins(scope, name, depth, words):
    with pytest.raises(ConfigError) as error:
        check(config(scope, type=name, depth=depth))
    text = str(error.value)
    assert 'model.backbone.plugins: ' in text and 'basic blocks' in text and words in text


@pytest.mark.parametrize(
    ('scope', 'name', 'ours'),
    [
        ('mmdet', 'CSPDarknet', 'CSPDarknet'),
        ('mmdet', 'mmdet.CSPDarknet', 'CSPDarknet'),
        ('mmdet', 'MobileNetV2', 'DetMobileNetV2'),
        ('mmseg', 'MobileNetV2', 'SegMobileNetV2'),
        ('mmpretrain', 'MobileNetV2', 'ClsMobileNetV2'),
        ('mmpretrain', 'ResNet', 'ClsResNet'),
        ('mmdet', 'mmpretrain.ResNet', 'ClsResNet'),
    ],
)
def test_a_forgotten_prefix_is_named(scope, name, ours):
    if 'mmpretrain' in scope + name:
        pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')
    with pytest.raises(ConfigError, match=rf"type='mmela\.{ours}'"):
        check(config(scope, type=name))


def test_a_stem_that_is_an_argument_of_ours_is_named_too():
    pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')
    written = "write type='mmela.ClsResNet', deep_stem=True, avg_down=True, which"
    with pytest.raises(ConfigError, match=written):
        check(config('mmpretrain', type='ResNetV1d', depth=50))


@pytest.mark.parametrize(
    ('plugins', 'words'),
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
def test_an_error_in_plugins_of_a_residual_network_names_the_fix(plugins, words):
    with pytest.raises(ConfigError) as error:
        check(config(type='ResNet', depth=50, plugins=plugins))
    assert words in str(error.value) and 'mmdet.ResNet (model.backbone)' in str(error.value)


@pytest.mark.parametrize(
    ('scope', 'name', 'arguments'),
    [
        ('mmseg', 'ResNet', dict(depth=50)),
        ('mmdet', 'RegNet', dict(arch='regnetx_400mf')),
        ('mmseg', 'ResNeSt', dict(depth=50)),
    ],
)
def test_every_residual_network_is_checked(scope, name, arguments):
    plugins = [dict(AFTER_CONV2, stages=(True,))]
    with pytest.raises(ConfigError, match='each of the 4 stages'):
        check(config(scope, type=name, plugins=plugins, **arguments))


NARROW = dict(depth=50, base_channels=16, stem_channels=16)
WIDE_GROUPS = dict(NARROW, groups=8, base_width=4)
TRIDENT = dict(num_branch=3, test_branch_idx=1, trident_dilations=(1, 2, 3), num_stages=3,
               strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,))  # fmt: skip


@pytest.mark.parametrize(
    ('name', 'arguments', 'positions'),
    [
        ('mmdet.ResNet', NARROW, ['after_conv1', 'after_conv2', 'after_conv3']),
        ('mmdet.ResNeXt', WIDE_GROUPS, ['after_conv2']),
        ('mmdet.Res2Net', NARROW, ['after_conv1', 'after_conv2', 'after_conv3']),
        ('mmdet.ResNeSt', WIDE_GROUPS, ['after_conv2']),
        ('mmdet.RegNet', dict(arch='regnetx_400mf'), ['after_conv2']),
        ('mmdet.TridentResNet', dict(NARROW, **TRIDENT), ['after_conv2']),
        ('mmdet.DetectoRS_ResNet', NARROW, ['after_conv2']),
        ('mmdet.DetectoRS_ResNeXt', WIDE_GROUPS, ['after_conv1', 'after_conv2', 'after_conv3']),
        ('mmseg.ResNetV1c', NARROW, ['after_conv2']),
        ('mmseg.ResNeXt', WIDE_GROUPS, ['after_conv1', 'after_conv2', 'after_conv3']),
        ('mmseg.ResNeSt', NARROW, ['after_conv2']),
        ('mmseg.UNet', dict(base_channels=8), ['after_conv2']),
    ],
)
def test_what_is_refused_is_what_does_not_run(name, arguments, positions):
    for position in positions:
        backbone = dict(type=name, plugins=[dict(cfg=ELA, position=position)], **arguments)
        try:
            check(config(**copy.deepcopy(backbone)))
            refused = False
        except ConfigError:
            refused = True
        try:
            network = MODELS.build(backbone)
            network.eval()
            with torch.no_grad():
                network(torch.randn(1, 3, 32, 32))
            runs = True
        except Exception:
            runs = False
        assert refused != runs, position


@pytest.mark.parametrize(
    ('name', 'arguments', 'of_map'),
    [
        ('mmdet.Res2Net', dict(depth=50), 104),
        ('mmdet.DetectoRS_ResNeXt', dict(depth=50, groups=32, base_width=4), 128),
        ('mmseg.ResNeXt', dict(depth=50, groups=32, base_width=4), 128),
    ],
)
def test_a_width_that_the_toolbox_gets_wrong_is_refused_with_a_valid_place(name, arguments, of_map):
    with pytest.raises(ConfigError) as error:
        check(config(type=name, **arguments))
    text = str(error.value)
    assert f'plugins[0] of {name} (model.backbone)' in text and 'after_conv2 of layer1' in text
    assert '64 channels' in text and f' {of_map};' in text
    assert 'right at after_conv3' in text


class WidthDoesNotMatter(nn.Module):
    def __init__(self, in_channels):
        super().__init__()

    def forward(self, x):
        return x * x.mean((2, 3), keepdim=True).sigmoid()


def test_a_layer_that_takes_every_width_passes_where_the_toolbox_gets_it_wrong():
    plugins = [dict(AFTER_CONV2, cfg=dict(type=WidthDoesNotMatter))]
    check(config(type='mmdet.Res2Net', depth=50, plugins=plugins))


def test_a_network_that_takes_no_plugins_and_has_no_variant_is_refused():
    words = 'backbone.plugins: HRNet of MMDetection takes no plugins, .* mmela.CSPDarknet'
    with pytest.raises(ConfigError, match=words):
        check(config(type='HRNet'))


def test_a_network_that_cannot_be_built_with_plugins_is_refused():
    with pytest.raises(ConfigError, match='backbone.plugins: UNet of MMSegmentation cannot be'):
        check(config('mmseg', type='UNet'))


@pytest.mark.parametrize('wrong', [dict(depth=51), dict(depth=50, colour='red'), dict()])
def test_other_errors_are_left_to_building_the_network(wrong):
    check(config(type='ResNet', **wrong))


def test_a_user_network_in_the_toolboxs_registry_is_not_checked():
    @MMDET_MODELS.register_module(name='OnesOwn', force=True)
    class OnesOwn(ResNet):
        def make_stage_plugins(self, plugins, stage_idx):
            return None if plugins[0]['position'] == 'somewhere' else 1 / 0

    plugins = [dict(AFTER_CONV2, position='somewhere')]
    check(config(type='OnesOwn', depth=50, plugins=plugins))


@pytest.mark.parametrize(
    ('parent', 'told', 'arguments'),
    [
        (ResNet, "basic blocks .*type='mmela.DetResNet'", dict(depth=18)),
        (ResNet, 'a bool for each of the 4 stages', dict(depth=50, plugins=[SHORT])),
        (CSPDarknet, "type='mmela.CSPDarknet'", {}),
    ],
)
def test_a_subclass_of_a_toolboxs_network_gets_the_same_sentence(parent, told, arguments):
    MMDET_MODELS.register_module(name='Derived', force=True)(type('Derived', (parent,), {}))
    with pytest.raises(ConfigError, match=told):
        check_plugins(config(type='Derived', **arguments), ())


def test_the_config_stays_as_it_was():
    cfg = config(
        type='ResNet',
        depth=50,
        dcn=dict(type='DCN', deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
    )
    before = copy.deepcopy(cfg.to_dict())
    check(cfg)
    assert cfg.to_dict() == before


class Plus(nn.Module):
    def __init__(self, in_channels, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return x + self.value


def two_at_one_position(first, stages=None):
    return [
        dict(cfg=dict(type=Plus, value=first), position='after_conv2', stages=stages),
        dict(cfg=dict(type=Plus, value=1.0, postfix='2'), position='after_conv2'),
    ]


@pytest.mark.parametrize(
    'name', ['mmdet.ResNet', 'mmdet.ResNeSt', 'mmseg.ResNetV1c', 'mmseg.ResNeSt']
)
def test_a_plugin_without_effect_is_what_is_warned_of(name, warned):
    check(config(type=name, depth=50, plugins=two_at_one_position(1.0)))
    outputs = []
    for first in (0.0, 1.0):
        torch.manual_seed(0)
        network = MODELS.build(dict(type=name, plugins=two_at_one_position(first), **NARROW))
        network.eval()
        outputs.append(network(torch.ones(1, 3, 32, 32))[-1])
    has_effect = not torch.equal(*outputs)
    assert len(warned()) == (0 if has_effect else 1)


@pytest.mark.parametrize(
    ('kind', 'fix'),
    [
        ('ResNetV1c', "type='mmela.SegResNetV1c'"),
        ('ResNetV1d', "type='mmela.SegResNet', deep_stem=True, avg_down=True"),
        ('ResNeSt', 'leave one plugin a position'),
    ],
)
def test_the_lost_plugins_of_mmsegmentation_are_one_warning(kind, fix, warned):
    plugins = [*two_at_one_position(1.0), dict(AFTER_CONV2, position='after_conv3'), AFTER_CONV2]
    plugins[2]['cfg'] = dict(ELA, postfix='3')
    check(config('mmseg', type=kind, depth=50, plugins=plugins))
    (line,) = warned()
    assert 'plugins[0]' in line and 'plugins[1]' in line and 'plugins[2]' not in line
    assert fix in line


def test_plugins_at_one_position_in_different_stages_are_no_warning(warned):
    plugins = two_at_one_position(1.0, stages=(True, False, False, False))
    plugins[1]['stages'] = (False, True, True, True)
    check(config('mmseg', type='ResNet', depth=50, plugins=plugins))
    assert not warned()


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
    check(engine.load_config(name))


def test_plugins_that_the_toolbox_takes_pass():
    second = dict(AFTER_CONV2, cfg=dict(ELA, postfix='2'))
    check(config(type='ResNet', depth=50, plugins=[AFTER_CONV2, second]))
    check(config(type='ResNet', depth=18, plugins=None))
    check(config(type='mmela.DetResNet', depth=18))
    check(config(type='other.CSPDarknet'))


def test_a_layer_that_needs_values_when_it_is_built_passes():
    class Layer(nn.Module):
        def __init__(self, in_channels):
            super().__init__()
            nn.Parameter(torch.ones(in_channels)).detach().numpy()

    check(config(type='ResNet', depth=50, plugins=[dict(AFTER_CONV2, cfg=dict(type=Layer))]))


@pytest.mark.parametrize('run', [engine.train, lambda cfg, **k: engine.test(cfg, 'x.pth', **k)])
def test_training_and_testing_check_plugins_before_anything_is_built(run):
    cfg = engine.load_config(RETINA)
    cfg.model.backbone.plugins = [AFTER_CONV2]
    with pytest.raises(ConfigError, match='basic blocks'):
        run(cfg, data_check=False)
    with pytest.raises(UserError, match='train_dataloader|test_dataloader'):  # no data
        run(cfg)
