"""Every variant against the toolbox's own network: what it keeps, and what plugins add."""

from __future__ import annotations

import copy
import re
import warnings
from collections import OrderedDict
from operator import attrgetter

import pytest
import torch
from mmdet.models.backbones import csp_darknet as det_csp_darknet
from mmdet.models.backbones import cspnext as det_cspnext
from mmdet.models.backbones import mobilenet_v2 as det_mobilenet_v2
from mmdet.models.backbones import resnet as det_resnet
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from mmseg.models.backbones import mobilenet_v2 as seg_mobilenet_v2
from mmseg.models.backbones import resnet as seg_resnet

from mmela import ELA
from mmela.errors import ConfigError

NANO = dict(deepen_factor=0.33, widen_factor=0.25, use_depthwise=True)
NARROW = dict(base_channels=16, stem_channels=16)
SLIM = dict(widen_factor=0.25)
SLIM_CSP = dict(deepen_factor=0.33, widen_factor=0.25)

#: Name: our type, the parent's class, arguments, a position.
NETWORKS = OrderedDict(
    det18=('mmela.DetResNet', det_resnet.ResNet, dict(depth=18, **NARROW), 'after_conv2'),
    det34=('mmela.DetResNet', det_resnet.ResNet, dict(depth=34, **NARROW), 'after_conv1'),
    det50=('mmela.DetResNet', det_resnet.ResNet, dict(depth=50, **NARROW), 'after_conv3'),
    det101=('mmela.DetResNet', det_resnet.ResNet, dict(depth=101, **NARROW), 'after_conv2'),
    det152=('mmela.DetResNet', det_resnet.ResNet, dict(depth=152, **NARROW), 'after_conv2'),
    darknet=('mmela.CSPDarknet', det_csp_darknet.CSPDarknet, NANO, 'after_stage'),
    darknet6=(
        'mmela.CSPDarknet',
        det_csp_darknet.CSPDarknet,
        dict(arch='P6', out_indices=(3, 4, 5), **SLIM_CSP),
        'after_stage',
    ),
    darknet_out=('mmela.CSPDarknet', det_csp_darknet.CSPDarknet, NANO, 'on_output'),
    cspnext=('mmela.CSPNeXt', det_cspnext.CSPNeXt, SLIM_CSP, 'after_stage'),
    cspnext6_out=(
        'mmela.CSPNeXt',
        det_cspnext.CSPNeXt,
        dict(arch='P6', out_indices=(0, 5, 3), **SLIM_CSP),
        'on_output',
    ),
    det_mobile=('mmela.DetMobileNetV2', det_mobilenet_v2.MobileNetV2, SLIM, 'after_depthwise'),
    det_mobile_block=('mmela.DetMobileNetV2', det_mobilenet_v2.MobileNetV2, SLIM, 'after_block'),
    seg18=('mmela.SegResNet', seg_resnet.ResNet, dict(depth=18, **NARROW), 'after_conv2'),
    seg34=('mmela.SegResNet', seg_resnet.ResNet, dict(depth=34, **NARROW), 'after_conv1'),
    seg50=('mmela.SegResNet', seg_resnet.ResNet, dict(depth=50, **NARROW), 'after_conv1'),
    seg18c=('mmela.SegResNetV1c', seg_resnet.ResNetV1c, dict(depth=18, **NARROW), 'after_conv2'),
    seg50c=('mmela.SegResNetV1c', seg_resnet.ResNetV1c, dict(depth=50, **NARROW), 'after_conv3'),
    seg101c=('mmela.SegResNetV1c', seg_resnet.ResNetV1c, dict(depth=101, **NARROW), 'after_conv2'),
    seg_mobile=('mmela.SegMobileNetV2', seg_mobilenet_v2.MobileNetV2, SLIM, 'after_depthwise'),
    seg_mobile_block=('mmela.SegMobileNetV2', seg_mobilenet_v2.MobileNetV2, SLIM, 'after_block'),
    # MMPreTrain is optional: its classes are looked up when they are needed.
    cls18=('mmela.ClsResNet', 'resnet.ResNet', dict(depth=18, **NARROW), 'after_conv2'),
    cls34=('mmela.ClsResNet', 'resnet.ResNet', dict(depth=34, **NARROW), 'after_conv1'),
    cls50=('mmela.ClsResNet', 'resnet.ResNet', dict(depth=50, **NARROW), 'after_conv2'),
    cls101=('mmela.ClsResNet', 'resnet.ResNet', dict(depth=101, **NARROW), 'after_conv3'),
    cls50d=(
        'mmela.ClsResNet',
        'resnet.ResNet',
        dict(depth=50, deep_stem=True, avg_down=True, drop_path_rate=0.2, **NARROW),
        'after_conv2',
    ),
    cls_mobile=('mmela.ClsMobileNetV2', 'mobilenet_v2.MobileNetV2', SLIM, 'after_depthwise'),
    cls_mobile_block=('mmela.ClsMobileNetV2', 'mobilenet_v2.MobileNetV2', SLIM, 'after_block'),
)  # fmt: skip
SMALL = [
    'det18', 'det50', 'darknet', 'cspnext', 'cspnext6_out', 'seg18', 'seg50c',
    'det_mobile', 'seg_mobile', 'cls18', 'cls50d', 'cls_mobile',
]  # fmt: skip
# A network of more than 50 layers has the blocks of one of 50, more of them.
every_network = pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=[pytest.mark.long] * (arguments.get('depth', 0) > 50))
        for name, (_, _, arguments, _) in NETWORKS.items()
    ],
)
small_networks = pytest.mark.parametrize('name', SMALL)


def plugins_of(name, **cfg):
    layer = dict(dict(type='mmela.ELA', variant='B', num_groups=4), **cfg)
    return [dict(cfg=layer, position=NETWORKS[name][3])]


def parent_class(name):
    parent = NETWORKS[name][1]
    if not isinstance(parent, str):
        return parent
    backbones = pytest.importorskip(
        'mmpretrain.models.backbones', reason='MMPreTrain is not installed'
    )
    return attrgetter(parent)(backbones)


def build(name, **kwargs):
    our_type, _, arguments, _ = NETWORKS[name]
    parent_class(name)
    return MODELS.build(dict(type=our_type, **arguments, **kwargs))


def build_parent(name):
    return parent_class(name)(**NETWORKS[name][2])


def initialised(make):
    """A network built and initialised from one seed."""
    torch.manual_seed(7)
    network = make()
    network.init_weights()
    return network


def outputs_of(network, train=False):
    torch.manual_seed(0)
    network.train(train)
    return network(torch.randn(2, 3, 64, 64))


@every_network
@pytest.mark.parametrize('plugins', [None, []])
def test_without_plugins_it_is_its_parent(name, plugins):
    ours = initialised(lambda: build(name, plugins=plugins))
    parent = initialised(lambda: build_parent(name))
    # The variant itself is another class; all that it is made of is the parent's own.
    ours_types, parent_types = ([type(m) for m in n.modules()][1:] for n in (ours, parent))
    assert ours_types == parent_types
    ours_state, parent_state = ours.state_dict(), parent.state_dict()
    assert list(ours_state) == list(parent_state)
    assert all(torch.equal(ours_state[key], parent_state[key]) for key in parent_state)


@small_networks
@pytest.mark.parametrize('train', [False, True])
def test_without_plugins_its_outputs_are_its_parents_to_the_bit(name, train):
    ours = initialised(lambda: build(name))
    parent = initialised(lambda: build_parent(name))
    for out, expected in zip(outputs_of(ours, train), outputs_of(parent, train), strict=True):
        assert torch.equal(out, expected)


@every_network
def test_plugins_add_their_keys_and_rename_none(name):
    keys = set(build(name, plugins=plugins_of(name)).state_dict())
    parent_keys = set(build_parent(name).state_dict())
    assert parent_keys < keys
    assert all('ela' in re.split('[._]', key) for key in keys - parent_keys)


@every_network
def test_a_checkpoint_of_the_parent_lacks_the_attention_and_nothing_else(name):
    network = build(name, plugins=plugins_of(name))
    result = network.load_state_dict(build_parent(name).state_dict(), strict=False)
    assert result.unexpected_keys == []
    attention = {f'{n}.{k}' for n, m in network.named_modules() if isinstance(m, ELA)
                 for k in m.state_dict()}  # fmt: skip
    assert set(result.missing_keys) == attention


def open_blocks(network):
    """Undoes `zero_init_residual`, which would hide whatever a block computes."""
    for name, module in network.named_modules():
        if name.rpartition('.')[2] in ('bn2', 'bn3'):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


@every_network
def test_scaled_plugins_leave_the_network_as_it_was_after_init_weights(name):
    equal = {}
    for residual in ('scaled', True):
        plugins = plugins_of(name, residual=residual)
        network = open_blocks(initialised(lambda p=plugins: build(name, plugins=p)))
        parent = build_parent(name)
        state = network.state_dict()
        parent.load_state_dict({key: state[key] for key in parent.state_dict()})
        outputs = zip(outputs_of(network), outputs_of(parent), strict=True)
        equal[residual] = all(torch.equal(out, expected) for out, expected in outputs)
    assert equal == {'scaled': True, True: False}  # the second shows that a difference would show


@pytest.mark.parametrize(
    'name, norm',
    [('det18', 'bn2'), ('det50', 'bn3'), ('seg18', 'bn2'), ('cls18', 'bn2'), ('cls50', 'bn3')],
)
def test_zero_init_residual_survives_plugins(name, norm):
    network = initialised(lambda: build(name, plugins=plugins_of(name)))
    for layer in network.res_layers:
        assert not any(getattr(block, norm).weight.any() for block in getattr(network, layer))


@small_networks
def test_a_deep_copy_uses_its_own_attention(name):
    # Not initialised: `zero_init_residual` would multiply every attention with zero.
    network = build(name, plugins=plugins_of(name))
    average = copy.deepcopy(network)
    before = outputs_of(network, train=True)[-1]
    with torch.no_grad():
        for module in average.modules():
            if isinstance(module, ELA):
                module.gn.bias.normal_(std=3)
    assert not torch.allclose(outputs_of(average, train=True)[-1], before, rtol=0.1)
    assert torch.equal(outputs_of(network, train=True)[-1], before)


@small_networks
def test_train_returns_the_network_like_every_module(name):
    network = build(name)
    assert network.train() is network and network.eval() is network


def record_order(network, names, x):
    order = []
    modules = dict(network.named_modules())
    for name in names:
        modules[name].register_forward_hook(
            lambda m, args, out, name=name: order.append((name, args[0], out))
        )
    network.eval()(x)
    return order


@pytest.mark.parametrize('name', ['det18', 'det50', 'seg18', 'seg50c', 'cls18', 'cls50'])
@pytest.mark.parametrize('position', ['after_conv1', 'after_conv2'])
def test_a_plugin_stands_behind_the_norm_of_its_convolution(name, position):
    plugins = [dict(cfg=dict(type='mmela.ELA', num_groups=4), position=position)]
    network = open_blocks(initialised(lambda: build(name, plugins=plugins)))
    norm = position.replace('after_conv', 'layer2.1.bn')
    (_, _, normed), (_, seen, _) = record_order(
        network, [norm, 'layer2.1.ela'], torch.randn(1, 3, 64, 64)
    )
    assert normed.abs().max() > 0
    # The last norm of a basic block is added to the identity before its activation.
    last = name.endswith('18') and position == 'after_conv2'
    torch.testing.assert_close(seen, normed if last else normed.relu())


@pytest.mark.parametrize(
    'name', ['det18', 'det50', 'darknet', 'seg18', 'seg50', 'seg50c', 'cls18', 'cls50']
)
def test_plugins_at_one_position_are_chained_in_order(name):
    position = NETWORKS[name][3]
    plugins = [
        dict(cfg=dict(type='mmela.ELA', num_groups=4, postfix=i), position=position)
        for i in (1, 2, 3)
    ]
    network = initialised(lambda: build(name, plugins=plugins))
    place = 'stage2' if name == 'darknet' else 'layer2.1'
    first, second, third = record_order(
        network, [f'{place}.ela{i}' for i in (1, 2, 3)], torch.randn(1, 3, 64, 64)
    )
    assert second[1] is first[2] and third[1] is second[2]


@pytest.mark.parametrize('name', ['det18', 'seg18', 'cls18', 'cls50'])
def test_checkpointed_blocks_run_their_plugins(name):
    """`with_cp` recomputes a block in backward instead of keeping it."""
    grads = []
    for with_cp in (False, True):
        network = initialised(lambda c=with_cp: build(name, plugins=plugins_of(name), with_cp=c))
        open_blocks(network)
        outputs_of(network, train=True)[-1].square().sum().backward()
        grads.append(network.layer3[1].ela.conv.weight.grad)
    assert grads[0].abs().max() > 0
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    'name, place',
    [('det18', 'layer2'), ('darknet', 'stage2'), ('seg50', 'layer2'), ('cls50', 'layer2')],
)
def test_a_frozen_stage_that_holds_an_attention_is_told_once(name, place):
    with pytest.warns(UserWarning, match=f'frozen_stages=2 of .* plugins in {place}') as record:
        entry = dict(plugins_of(name)[0], stages=(False, True, True, True))
        network = build(name, plugins=[entry], frozen_stages=2)
        network.train()
    assert len([w for w in record if 'freezes' in str(w.message)]) == 1
    frozen = [m for n, m in network.named_modules() if isinstance(m, ELA) and n.startswith(place)]
    assert frozen and not any(p.requires_grad for m in frozen for p in m.parameters())


@pytest.mark.parametrize('name', ['det18', 'darknet', 'seg50', 'cls50'])
def test_frozen_stages_without_an_attention_are_no_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        entry = dict(plugins_of(name)[0], stages=(False, True, True, True))
        build(name, plugins=[entry], frozen_stages=1)


@small_networks
def test_a_plugin_that_holds_what_the_parent_initialises_has_the_last_word(name):
    """The parents' rules are for every Conv2d below them."""

    class Conv(BaseModule):
        _abbr_ = 'conv_plugin'

        def __init__(self, in_channels):
            super().__init__(dict(type='Constant', layer='Conv2d', val=0.25))
            self.conv = torch.nn.Conv2d(in_channels, in_channels, 1)

        def forward(self, x):
            return self.conv(x)

    plugins = [dict(cfg=dict(type=Conv), position=NETWORKS[name][3])]
    network = initialised(lambda: build(name, plugins=plugins))
    layers = [m for m in network.modules() if isinstance(m, Conv)]
    assert layers and all((layer.conv.weight == 0.25).all() for layer in layers)


def test_a_checkpoint_of_the_backbone_has_the_last_word_over_a_plugins_init_cfg(tmp_path):
    plugins = plugins_of('darknet', init_cfg=dict(type='Constant', layer='GroupNorm', val=0.5))
    trained = build('darknet', plugins=plugins)
    torch.save(trained.state_dict(), tmp_path / 'trained.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'trained.pth'))
    network = initialised(lambda: build('darknet', plugins=plugins, init_cfg=init_cfg))
    state = network.state_dict()
    for key, value in trained.state_dict().items():
        assert torch.equal(state[key], value), key


@small_networks
def test_a_plugins_own_init_cfg_is_obeyed_in_every_network(name):
    init_cfg = dict(type='Constant', layer='GroupNorm', val=0.5)
    network = initialised(lambda: build(name, plugins=plugins_of(name, init_cfg=init_cfg)))
    layers = [m for m in network.modules() if isinstance(m, ELA)]
    assert layers and all((layer.gn.weight == 0.5).all() for layer in layers)


@pytest.mark.parametrize(
    'name, position, allowed',
    [
        ('det18', 'after_conv3', 'after_conv1, after_conv2;'),
        ('seg50c', 'after_stage', 'after_conv1, after_conv2, after_conv3'),
        ('cls18', 'after_conv3', 'after_conv1, after_conv2;'),
        ('cls50', 'after_stage', 'after_conv1, after_conv2, after_conv3'),
        ('darknet', 'after_conv2', 'after_stage'),
    ],
)
def test_a_position_that_the_network_lacks_is_answered_with_a_sentence(name, position, allowed):
    with pytest.raises(ConfigError, match=f'no position .{position}.; the positions are {allowed}'):
        build(name, plugins=[dict(cfg=dict(type='mmela.ELA'), position=position)])


@pytest.mark.parametrize('name', ['det50', 'darknet'])
def test_stages_of_another_number_are_answered_with_a_sentence(name):
    entry = dict(plugins_of(name)[0], stages=(True, True))
    with pytest.raises(ConfigError, match='one bool for each of the 4 stages'):
        build(name, plugins=[entry])
