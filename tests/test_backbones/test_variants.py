"""Every variant against the toolbox's own network: what it keeps, and what plugins add."""

from __future__ import annotations

import copy
import re
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
#: One network of each kind. The others differ in depth, arrangement or position only.
KINDS = [
    'det18', 'det50', 'darknet', 'cspnext6_out', 'seg18', 'seg50c', 'det_mobile', 'seg_mobile',
    'cls18', 'cls50d', 'cls_mobile',
]  # fmt: skip
LONG = [pytest.mark.long, pytest.mark.core]
# A network of more than 50 layers has the blocks of one of 50, more of them.
DEEP = [pytest.mark.long]
every_kind = pytest.mark.parametrize('name', KINDS)
every_network = pytest.mark.parametrize(
    'name',
    [
        pytest.param(
            name,
            marks=[] if name in KINDS else DEEP if arguments.get('depth', 0) > 50 else LONG,
        )
        for name, (_, _, arguments, _) in NETWORKS.items()
    ],
)


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
def test_without_plugins_it_is_its_parent_bit_for_bit(name):
    parent = initialised(lambda: build_parent(name))
    expected = [outputs_of(parent, train) for train in (False, True)]
    parent = initialised(lambda: build_parent(name))  # training moved the statistics
    for plugins in (None, []):
        ours = initialised(lambda p=plugins: build(name, plugins=p))
        # The variant itself is another class; all that it is made of is the parent's own.
        ours_types, parent_types = ([type(m) for m in n.modules()][1:] for n in (ours, parent))
        assert ours_types == parent_types
        ours_state, parent_state = ours.state_dict(), parent.state_dict()
        assert list(ours_state) == list(parent_state)
        assert all(torch.equal(ours_state[key], parent_state[key]) for key in parent_state)
    for outs, train in zip(expected, (False, True), strict=True):
        assert all(map(torch.equal, outputs_of(ours, train), outs))


@every_network
def test_plugins_add_their_keys_alone_and_a_checkpoint_of_the_parent_loads(name):
    network, parent_state = build(name, plugins=plugins_of(name)), build_parent(name).state_dict()
    new = set(network.state_dict()) - set(parent_state)
    assert new and all('ela' in re.split('[._]', key) for key in new)
    result = network.load_state_dict(parent_state, strict=False)
    attention = {f'{n}.{k}' for n, m in network.named_modules() if isinstance(m, ELA)
                 for k in m.state_dict()}  # fmt: skip
    assert result.unexpected_keys == []
    assert set(result.missing_keys) == attention == new


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


@every_kind
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


@pytest.mark.parametrize('name', ['det18', 'darknet', 'seg_mobile'])
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


@pytest.mark.parametrize('position', ['after_conv1', 'after_conv2'])
@pytest.mark.parametrize('name', ['det18', 'seg50c', 'cls50'])
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


@pytest.mark.parametrize('name', ['det18', 'darknet', 'seg50', 'cls50'])
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


@pytest.mark.parametrize('name', ['det18', 'seg50', 'cls50'])
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
    [('det18', 'layer2'), ('darknet', 'stage2'), ('seg50', 'layer2'), ('cls_mobile', 'layer2')],
)
def test_a_frozen_stage_freezes_the_attention_in_it(name, place):
    network = build(name, plugins=plugins_of(name), frozen_stages=2).train()
    trained = {
        n: any(p.requires_grad for p in m.parameters())
        for n, m in network.named_modules()
        if isinstance(m, ELA)
    }
    frozen = ('layer1', place) if 'layer' in place else ('stage1', place)
    assert len(set(trained.values())) == 2
    assert all(is_trained != name.startswith(frozen) for name, is_trained in trained.items())


@every_kind
def test_a_plugins_own_init_cfg_has_the_last_word(name):
    """The rules of the parents are for every Conv2d and GroupNorm below them."""

    class Conv(BaseModule):
        _abbr_ = 'conv_plugin'

        def __init__(self, in_channels):
            super().__init__(dict(type='Constant', layer=['Conv2d', 'GroupNorm'], val=0.25))
            self.norm = torch.nn.GroupNorm(1, in_channels)
            self.conv = torch.nn.Conv2d(in_channels, in_channels, 1)

        def forward(self, x):
            return self.conv(self.norm(x))

    plugins = [dict(cfg=dict(type=Conv), position=NETWORKS[name][3])]
    network = initialised(lambda: build(name, plugins=plugins))
    layers = [m for m in network.modules() if isinstance(m, Conv)]
    assert layers
    for layer in layers:
        assert (layer.conv.weight == 0.25).all() and (layer.norm.weight == 0.25).all()


def test_a_checkpoint_of_the_backbone_has_the_last_word_over_a_plugins_init_cfg(tmp_path):
    plugins = plugins_of('darknet', init_cfg=dict(type='Constant', layer='GroupNorm', val=0.5))
    trained = build('darknet', plugins=plugins)
    torch.save(trained.state_dict(), tmp_path / 'trained.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'trained.pth'))
    network = initialised(lambda: build('darknet', plugins=plugins, init_cfg=init_cfg))
    state = network.state_dict()
    for key, value in trained.state_dict().items():
        assert torch.equal(state[key], value), key


@pytest.mark.parametrize(
    'name, position, allowed',
    [
        ('det18', 'after_conv3', 'after_conv1, after_conv2,'),
        ('seg50c', 'after_stage', 'after_conv1, after_conv2, after_conv3,'),
        ('cls18', 'after_conv3', 'after_conv1, after_conv2,'),
        ('darknet', 'after_conv2', 'after_stage, on_output,'),
    ],
)
def test_a_position_that_the_network_lacks_is_refused(name, position, allowed):
    with pytest.raises(ConfigError, match=f"position .*{allowed} got '{position}'"):
        build(name, plugins=[dict(cfg=dict(type='mmela.ELA'), position=position)])


@pytest.mark.parametrize('name', ['det50', 'darknet'])
def test_stages_count_those_of_the_network(name):
    with pytest.raises(ConfigError, match=r'stages .* 4 .* got \(True, True\)'):
        build(name, plugins=[dict(plugins_of(name)[0], stages=(True, True))])
