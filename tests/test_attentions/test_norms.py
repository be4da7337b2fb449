"""The norms inside CBAM and CoordAtt: statistics, one value, SyncBN, fusing."""

from __future__ import annotations

import copy

import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.model import revert_sync_batchnorm

from mmela.attentions import CBAM, CoordAtt

LAYERS = {
    'CBAM': lambda: CBAM(32),
    'CoordAtt': lambda: CoordAtt(32),
    'CoordAtt, apart': lambda: CoordAtt(32, joint=False),
}


def build(name):
    torch.manual_seed(0)
    return LAYERS[name]()


def a_map(*shape, **kwargs):
    torch.manual_seed(1)
    return torch.randn(*shape, **kwargs)


@pytest.mark.parametrize('name', ['CBAM', 'CoordAtt, apart'])
def test_a_norm_of_one_value_gives_its_bias_and_keeps_its_statistics(name):
    layer, x = build(name).double(), a_map(1, 32, 1, 1, dtype=torch.float64)
    norm = getattr(layer, layer.norm_name)
    torch.nn.init.normal_(norm.bias)
    statistics = norm.running_mean.clone(), norm.running_var.clone()
    gates = layer.gate(x)
    layer(x)
    if name == 'CBAM':
        expected = norm.bias.sigmoid().view(1, 1, 1, 1)
    else:
        hidden = torch.nn.functional.hardswish(norm.bias)
        expected = layer.conv_w(hidden.view(1, -1, 1, 1)).sigmoid()
    torch.testing.assert_close(gates[1], expected)
    assert torch.equal(norm.running_mean, statistics[0])
    assert torch.equal(norm.running_var, statistics[1])


@pytest.mark.parametrize('name', LAYERS)
def test_in_eval_mode_one_value_is_normalised_like_any_other(name):
    layer, x = build(name).eval(), a_map(1, 32, 1, 1)
    norm = getattr(layer, layer.norm_name)
    torch.nn.init.normal_(norm.running_mean)
    alone, in_company = layer.gate(x), layer.gate(torch.cat((x, x)))
    for gate, gates in zip(alone, in_company, strict=True):
        torch.testing.assert_close(gate, gates[:1])
    torch.nn.init.normal_(norm.running_mean)
    assert not torch.equal(layer.gate(x)[1], alone[1])


@pytest.mark.parametrize('name', LAYERS)
@pytest.mark.parametrize('convert', ['float', 'half'])
def test_training_moves_the_running_statistics_and_looking_does_not(name, convert):
    layer = getattr(build(name), convert)()
    x = a_map(4, 32, 6, 6).to(next(layer.parameters()).dtype)
    start = copy.deepcopy(layer.state_dict())
    layer.gate(x)
    assert all(torch.equal(start[key], value) for key, value in layer.state_dict().items())
    layer(x)
    norm = getattr(layer, layer.norm_name)
    once = 2 if name == 'CoordAtt, apart' else 1
    assert norm.num_batches_tracked == once
    if name == 'CoordAtt':
        exact = copy.deepcopy(layer).double()
        strips = torch.cat((x.double().mean(3), x.double().mean(2)), dim=2)
        z = exact.conv1(strips.unsqueeze(3))
        torch.testing.assert_close(
            norm.running_mean.double(), 0.1 * z.mean((0, 2, 3)), atol=1e-4, rtol=1e-2
        )
    assert not torch.equal(norm.running_var, torch.ones_like(norm.running_var))


@pytest.mark.parametrize('name', LAYERS)
def test_fusing_conv_and_norm_keeps_the_output(name):
    layer, x = build(name).eval(), a_map(2, 32, 9, 7)
    norm = getattr(layer, layer.norm_name)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        torch.nn.init.uniform_(tensor, 0.5, 2)
    fused = fuse_conv_bn(copy.deepcopy(layer))
    assert isinstance(getattr(fused, layer.norm_name), torch.nn.Identity)
    torch.testing.assert_close(fused(x), layer(x))


@pytest.mark.parametrize('cls', [CBAM, CoordAtt])
def test_sync_bn_is_asked_for_by_config_and_keeps_the_keys(cls):
    layer = cls(32, norm_cfg=dict(type='SyncBN', requires_grad=True))
    norm = getattr(layer, layer.norm_name)
    assert isinstance(norm, torch.nn.SyncBatchNorm)
    assert set(layer.state_dict()) == set(cls(32).state_dict())
    x = a_map(2, 32, 9, 7)
    single = revert_sync_batchnorm(layer)  # what the toolboxes do on one CPU
    assert single(x).shape == x.shape


@pytest.mark.parametrize('cls', [CBAM, CoordAtt])
def test_a_group_count_falls_to_the_next_divisor_and_says_so(cls):
    with pytest.warns(UserWarning, match=rf'{cls.__name__}\(40\): num_groups=16 does not divide'):
        layer = cls(40, norm_cfg=dict(type='GN', num_groups=16))
    width = 1 if cls is CBAM else 8
    assert getattr(layer, layer.norm_name).num_groups == width
