"""The toolboxes' own residual networks with attention in their own `plugins`."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS

from mmela import ELA
from mmela.errors import ConfigError

NARROW = dict(depth=50, base_channels=16, stem_channels=16)
GROUPS = dict(groups=8, base_width=4)
POSITIONS = ('after_conv1', 'after_conv2', 'after_conv3')
R50 = (3, 4, 6, 3)

#: Type: arguments, blocks of each stage.
RIGHT_EVERYWHERE = {
    'mmdet.ResNet': (NARROW, R50),
    'mmdet.ResNetV1d': (NARROW, R50),
    'mmdet.ResNeXt': (dict(NARROW, **GROUPS), R50),
    'mmdet.ResNeSt': (NARROW, R50),
    'mmdet.RegNet': (dict(arch='regnetx_400mf'), (1, 2, 7, 12)),
    'mmdet.DetectoRS_ResNet': (NARROW, R50),
    'mmseg.ResNet': (NARROW, R50),
    'mmseg.ResNetV1c': (NARROW, R50),
    'mmseg.ResNetV1d': (NARROW, R50),
    'mmseg.ResNeSt': (NARROW, R50),
}
#: Those that build a plugin behind conv1 or conv2 for another width than that of the map.
RIGHT_AFTER_CONV3 = {
    'mmdet.Res2Net': (dict(NARROW, base_width=8), R50),
    'mmdet.DetectoRS_ResNeXt': (dict(NARROW, **GROUPS), R50),
    'mmseg.ResNeXt': (dict(NARROW, **GROUPS), R50),
}
NETWORKS = {**RIGHT_EVERYWHERE, **RIGHT_AFTER_CONV3}
FAST = ('mmdet.ResNet', 'mmdet.Res2Net', 'mmseg.ResNeSt')
LONG = [pytest.mark.long, pytest.mark.core]
every_network = pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[] if name in FAST else LONG) for name in NETWORKS]
)


def positions_of(name):
    return POSITIONS if name in RIGHT_EVERYWHERE else POSITIONS[2:]


def build(name, plugins=None):
    torch.manual_seed(7)
    return MODELS.build(dict(type=name, plugins=plugins, **NETWORKS[name][0]))


def entry(position, stages, **cfg):
    layer = dict(dict(type='mmela.ELA', num_groups=4, postfix=f'_{position}'), **cfg)
    return dict(cfg=layer, position=position, stages=stages)


def build_everywhere(name, **cfg):
    """One layer at each position that works there, behind stage 1."""
    stages = (False, True, True, True)
    return build(name, [entry(position, stages, **cfg) for position in positions_of(name)])


def outputs_of(network):
    network.eval()  # returns None in the toolboxes
    torch.manual_seed(0)
    with torch.no_grad():
        return network(torch.randn(1, 3, 64, 64))


@every_network
def test_every_position_adds_its_layers_and_keys_alone_and_trains_them(name):
    network = build_everywhere(name)
    layers = {n: m for n, m in network.named_modules() if isinstance(m, ELA)}
    assert len(layers) == len(positions_of(name)) * sum(NETWORKS[name][1][1:])
    keys, plain_keys = (set(n.state_dict()) for n in (network, build(name)))
    assert plain_keys < keys
    assert {key.rpartition('.ela_')[0] for key in keys - plain_keys} == {
        n.rpartition('.ela_')[0] for n in layers
    }
    network.train()
    network(torch.randn(2, 3, 64, 64))[-1].square().sum().backward()
    assert all(layer.conv.weight.grad.abs().max() > 0 for layer in layers.values())


@every_network
def test_scaled_layers_leave_the_network_as_it_was(name):
    equal = {}
    for residual in ('scaled', True):
        network = build_everywhere(name, residual=residual)
        plain = build(name)
        state = network.state_dict()
        plain.load_state_dict({key: state[key] for key in plain.state_dict()})
        outputs = zip(outputs_of(network), outputs_of(plain), strict=True)
        equal[residual] = all(torch.equal(out, expected) for out, expected in outputs)
    assert equal == {'scaled': True, True: False}  # the second shows that a difference would show


@pytest.mark.parametrize('name', ['mmdet.ResNet', 'mmseg.ResNeSt'])
def test_scaled_layers_stay_the_identity_after_init_weights(name):
    network = build_everywhere(name, residual='scaled')
    network.init_weights()
    for key, norm in network.named_modules():
        if key.endswith('bn3'):  # set to zero by the network, which would hide the layers
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    plain = build(name)
    state = network.state_dict()
    plain.load_state_dict({key: state[key] for key in plain.state_dict()})
    for out, expected in zip(outputs_of(network), outputs_of(plain), strict=True):
        assert torch.equal(out, expected)


@pytest.mark.parametrize('name', RIGHT_AFTER_CONV3)
def test_a_layer_that_the_toolbox_builds_for_another_width_refuses_the_map(name):
    for position in POSITIONS[:2]:
        network = build(name, [entry(position, (True, False, False, False))])
        with pytest.raises(ConfigError, match=r'\(N, 16, H, W\)'):
            outputs_of(network)


def test_the_toolbox_network_and_ours_run_one_plugin_alike():
    """So that a list moves from one to the other, and a checkpoint with it."""
    plugins = [entry('after_conv2', (False, True, True, True))]
    for toolbox, ours in (('mmdet.ResNet', 'mmela.DetResNet'), ('mmseg.ResNet', 'mmela.SegResNet')):
        network = build(toolbox, plugins)
        mine = MODELS.build(dict(type=ours, plugins=plugins, **NARROW))
        mine.load_state_dict(network.state_dict())
        for out, expected in zip(outputs_of(mine), outputs_of(network), strict=True):
            assert torch.equal(out, expected)
