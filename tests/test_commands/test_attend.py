"""``attend`` writes a config that a person could have written, and that builds."""

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmela.attentions.base import Attention
from mmela.commands.attend import attend, base_of, list_places
from mmela.engine import UserError, load_config
from mmela.errors import ConfigError
from mmela_cli.attend import main


def proposed(base, tmp_path, **choices):
    """The proposal, and the names of the attention layers of the config that it writes."""
    proposal = attend(load_config(base), base, shape=(64, 64), **choices)
    file = tmp_path / 'new.py'
    file.write_text(proposal.text)
    cfg = Config.fromfile(file)
    init_default_scope(cfg.default_scope)
    cfg.model.pop('pretrained', None)
    cfg.model.backbone.pop('init_cfg', None)
    model = MODELS.build(cfg.model)
    layers = [name for name, module in model.named_modules() if isinstance(module, Attention)]
    assert proposal.complexity.attention_layers == len(layers)
    return proposal, cfg, layers


RETINANET = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'


def test_yolox_gets_the_config_of_the_readme(tmp_path):
    base = 'mmdet::yolox/yolox_nano_8xb8-300e_coco.py'
    proposal, cfg, layers = proposed(base, tmp_path)
    assert cfg.model.backbone.type == 'mmela.CSPDarknet'
    assert layers == [f'backbone.stage{i}.ela' for i in (2, 3, 4)]
    assert cfg.model.backbone.plugins[0].cfg == dict(type='mmela.ELA', variant='T')


def test_pretrained_bottlenecks_keep_their_type_and_get_the_authors_residual(tmp_path):
    base = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
    _, cfg, layers = proposed(base, tmp_path)
    assert cfg.model.backbone.type == 'ResNet'
    assert cfg.model.backbone.plugins[0].cfg.residual is True
    assert len(layers) == 4 + 6 + 3  # the bottlenecks of C3 to C5


def test_a_network_of_three_stages_gets_a_bool_for_each(tmp_path):
    base = 'mmdet::rpn/rpn_r50-caffe-c4_1x_coco.py'
    _, cfg, layers = proposed(base, tmp_path)
    assert list(cfg.model.backbone.plugins[0].stages) == [False, True, True]
    assert len(layers) == 4 + 6


@pytest.mark.parametrize(
    'base, layer',
    [
        ('mmpretrain::convnext/convnext-tiny_32xb128_in1k.py', 'stages.3.ela'),  # pools its output
        ('mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py', 'ela_out0'),
        # it has two outputs in training
        ('mmseg::ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py', 'spp.ela'),
    ],
)
def test_without_a_position_it_takes_the_last_map(base, layer, tmp_path):
    pytest.importorskip(base.partition('::')[0])
    cfg = load_config(base)
    text = attend(cfg, base, shape=(224, 224)).text
    (tmp_path / 'new.py').write_text(text)
    init_default_scope(cfg.default_scope)
    backbone = Config.fromfile(tmp_path / 'new.py').model.backbone
    names = [n for n, m in MODELS.build(backbone).named_modules() if isinstance(m, Attention)]
    assert names == [layer]


def test_a_config_without_a_test_size_takes_one(tmp_path, capsys):
    pytest.importorskip('mmpretrain')
    base = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'
    assert main([base, '--shape', '32', '--out', str(tmp_path / 'new.py')]) == 0
    assert 'FLOPs' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([base])
    assert '--shape' in capsys.readouterr().err


def test_basic_blocks_get_the_variant_that_takes_plugins(tmp_path):
    _, cfg, layers = proposed(RETINANET, tmp_path, layer='SE', residual='scaled')
    assert cfg.model.backbone.type == 'mmela.DetResNet'
    assert cfg.model.backbone.plugins[0].cfg == dict(type='mmela.SE', residual='scaled')
    assert len(layers) == 6


def test_any_other_network_is_wrapped(tmp_path):
    _, cfg, layers = proposed(RETINANET, tmp_path, where='neck.fpn_convs.*')
    assert (cfg.model.neck.type, cfg.model.neck.network) == ('mmela.WithPlugins', 'FPN')
    assert layers == [f'neck.fpn_convs.{i}.ela' for i in range(5)]


def test_a_file_is_named_from_where_the_new_one_will_be(tmp_path):
    (tmp_path / 'new').mkdir()
    config = tmp_path / 'old' / 'config.py'
    assert base_of(str(config), str(tmp_path / 'new' / 'mine.py')) == '../old/config.py'
    assert base_of(RETINANET, str(tmp_path / 'mine.py')) == RETINANET


def test_places_are_listed_with_their_shapes():
    places = dict(list_places(load_config(RETINANET), 'neck'))
    assert places['fpn_convs.0'] == '256x32x48' and places['outputs'].startswith('256x32x48, ')
    assert 'fpn_convs' not in places and 'fpn_convs.0.conv' not in places


@pytest.mark.parametrize(
    'choices, said',
    [
        (dict(where='nek'), "did you mean 'neck'"),
        (dict(where='neck.fpn_convs'), "'fpn_convs.*'"),
        (dict(layer='EAL'), 'mmela.EAL'),
        (dict(variant='X'), "'X'"),
        (dict(layer='SE', variant='T'), '--variant'),
    ],
)
def test_a_mistake_is_named(choices, said):
    with pytest.raises((UserError, ConfigError)) as error:
        attend(load_config(RETINANET), RETINANET, **choices)
    assert said in str(error.value)
