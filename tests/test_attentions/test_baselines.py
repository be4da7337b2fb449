"""Each baseline against its formula written out and against published numbers."""

from __future__ import annotations

import importlib
import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from mmela.attentions import CBAM, ECA, SE, CoordAtt
from mmela.attentions.eca import adaptive_kernel_size

#: Parameters of the networks without attention, as torchvision counts them.
MOBILENETV2, RESNET50 = 3_504_872, 25_557_032
#: Widths behind the depthwise convolution of MobileNetV2's blocks that expand.
EXPANDED = [96, 144, 144] + [192] * 3 + [384] * 4 + [576] * 3 + [960] * 3
#: Output widths of ResNet-50's blocks.
OUTPUTS = [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(2, 48, 7, 5, dtype=torch.float64)


def random_weights(layer):
    """Weights that no initialisation gives, running statistics included, in float64."""
    torch.manual_seed(1)
    layer.double()
    for tensor in layer.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.2, 1.5).mul_(torch.randint(0, 2, tensor.shape).mul(2).sub(1))
    for name, tensor in layer.state_dict().items():
        if name.endswith('running_var'):
            tensor.abs_()
    return layer


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def normed(x, bn, train):
    """BatchNorm by its definition, for a map of shape (N, C, H, W)."""
    if train:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    else:
        mean, var = bn.running_mean, bn.running_var
    mean, var, weight, bias = (t.view(1, -1, 1, 1) for t in (mean, var, bn.weight, bn.bias))
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


@pytest.mark.parametrize('bias', [True, False])
def test_se_is_its_formula(x, bias):
    layer = random_weights(SE(48, 16, bias=bias))
    w1, w2 = layer.fc1.weight[:, :, 0, 0], layer.fc2.weight[:, :, 0, 0]
    b1, b2 = (layer.fc1.bias, layer.fc2.bias) if bias else (0, 0)
    assert w1.shape == (3, 48) and w2.shape == (48, 3)
    gate = sigmoid((x.mean((2, 3)) @ w1.T + b1).clamp(min=0) @ w2.T + b2)
    torch.testing.assert_close(layer(x), x * gate[:, :, None, None])


def test_eca_is_its_formula(x):
    layer = random_weights(ECA(48, 5))
    means = x.mean((2, 3))
    z = torch.zeros_like(means)
    for channel, offset in itertools.product(range(48), range(-2, 3)):
        if 0 <= channel + offset < 48:
            z[:, channel] += layer.conv.weight[0, 0, offset + 2] * means[:, channel + offset]
    torch.testing.assert_close(layer(x), x * sigmoid(z)[:, :, None, None])


@pytest.mark.parametrize('train', [True, False])
def test_cbam_is_its_formula(x, train):
    layer = random_weights(CBAM(48, 16)).train(train)

    def mlp(z):
        hidden = (z @ layer.fc1.weight.T + layer.fc1.bias).clamp(min=0)
        return hidden @ layer.fc2.weight.T + layer.fc2.bias

    channels = sigmoid(mlp(x.flatten(2).mean(2)) + mlp(x.flatten(2).max(2).values))
    refined = x * channels[:, :, None, None]
    pooled = torch.stack((refined.max(1).values, refined.mean(1)), dim=1)
    places = F.conv2d(F.pad(pooled, (3, 3, 3, 3)), layer.conv.weight)
    expected = refined * sigmoid(normed(places, layer.bn, train))
    torch.testing.assert_close(layer(x), expected)


def test_cbam_without_a_norm_is_the_formula_of_the_paper(x):
    layer = random_weights(CBAM(48, norm_cfg=None, kernel_size=3))
    y_c, y_s = layer.gate(x)
    refined = x * y_c
    pooled = torch.stack((refined.max(1).values, refined.mean(1)), dim=1)
    torch.testing.assert_close(y_s, sigmoid(F.conv2d(pooled, layer.conv.weight, padding=1)))
    assert [key for key in layer.state_dict() if 'conv' not in key and 'fc' not in key] == []


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('joint', [True, False])
def test_coordinate_attention_is_its_formula(x, train, joint):
    layer = random_weights(CoordAtt(48, 4, joint=joint)).train(train)
    w1, b1 = layer.conv1.weight[:, :, 0, 0], layer.conv1.bias
    assert w1.shape == (12, 48)
    # One place of a strip at a time; the norm alone sees them together.
    rows = [x[:, :, i].mean(2) @ w1.T + b1 for i in range(7)]
    columns = [x[:, :, :, j].mean(2) @ w1.T + b1 for j in range(5)]
    strips = [rows + columns] if joint else [rows, columns]
    encoded = [normed(torch.stack(s, 2)[..., None], layer.bn1, train)[..., 0] for s in strips]
    z = torch.cat(encoded, dim=2)  # (N, C', H + W)
    z = z * (z + 3).clamp(0, 6) / 6
    y_h = torch.einsum('nkh,ck->nch', z[:, :, :7], layer.conv_h.weight[:, :, 0, 0])
    y_w = torch.einsum('nkw,ck->ncw', z[:, :, 7:], layer.conv_w.weight[:, :, 0, 0])
    y_h = sigmoid(y_h + layer.conv_h.bias[:, None])
    y_w = sigmoid(y_w + layer.conv_w.bias[:, None])
    torch.testing.assert_close(layer(x), x * y_h[:, :, :, None] * y_w[:, :, None])


#: Ours; timm's class and arguments for the same function; timm's names for our keys.
SAME_AS_TIMM = {
    'SE': (SE(48), 'squeeze_excite.SEModule', dict(rd_channels=3), {}),
    'ECA': (ECA(256), 'eca.EcaModule', {}, {}),
    'CBAM': (
        CBAM(48, 16),
        'cbam.CbamModule',
        dict(mlp_bias=True, rd_channels=3),
        {'fc': 'channel.fc', 'conv': 'spatial.conv.conv', 'bn': 'spatial.conv.bn'},
    ),
    'CoordAtt': (CoordAtt(48, 4), 'coord_attn.CoordAttn', dict(rd_channels=12, bias=True), {}),
}


@pytest.mark.parametrize('name', SAME_AS_TIMM)
def test_it_is_timms_where_the_function_is_the_same(name):
    ours, their_class, arguments, names = SAME_AS_TIMM[name]
    module, _, class_name = their_class.rpartition('.')
    try:
        timm_module = importlib.import_module(f'timm.layers.{module}')
    except Exception as error:  # timm needs a torchvision that fits torch
        pytest.skip(f'timm cannot be imported: {error}')
    theirs = getattr(timm_module, class_name)(ours.in_channels, **arguments).double()
    for train in (True, False):
        random_weights(ours).train(train)
        state = {}
        for key, tensor in ours.state_dict().items():
            prefix = next((p for p in names if key.startswith(p)), '')
            key = names.get(prefix, '') + key.removeprefix(prefix)
            if key == 'spatial.conv.conv.weight':
                tensor = tensor.flip(1)  # timm puts the mean before the maximum
            state[key] = tensor.view_as(theirs.state_dict()[key])
        theirs.train(train).load_state_dict(state)
        x = torch.randn(2, ours.in_channels, 9, 6, dtype=torch.float64)
        torch.testing.assert_close(ours(x), theirs(x))


def count(layers):
    return sum(p.numel() for layer in layers for p in layer.parameters())


@pytest.mark.parametrize(
    'base, layers, published',
    [
        (MOBILENETV2, [CoordAtt(c) for c in EXPANDED], 3.95),  # README of houqb/CoordAttention
        (MOBILENETV2, [SE(c, 24) for c in EXPANDED], 3.89),  # the same table
        (MOBILENETV2, [CBAM(c, 24) for c in EXPANDED], 3.89),  # the same table
        (RESNET50, [SE(c) for c in OUTPUTS], 28.09),
    ],
    ids=['MobileNetV2 CoordAtt', 'MobileNetV2 SE', 'MobileNetV2 CBAM', 'ResNet-50 SE'],
)
def test_parameter_totals_are_the_published_ones(base, layers, published):
    assert round((base + count(layers)) / 1e6, 2) == published


def test_eca_adds_eighty_parameters_to_the_best_resnet50_of_its_authors():
    """README of BangguWu/ECANet: kernel sizes 3, 5, 5, 7; 80 parameters."""
    sizes = {256: 3, 512: 5, 1024: 5, 2048: 7}
    assert count(ECA(c, sizes[c]) for c in OUTPUTS) == 80
    assert count(ECA(c) for c in OUTPUTS) == 86  # the rule gives 5 at 256 channels


@pytest.mark.parametrize('channels', [1, 2, 8, 16, 24, 48, 96, 144, 192, 384, 576, 960, 2048])
def test_the_kernel_of_eca_is_the_odd_number_nearest_to_the_rule(channels):
    target = math.log2(channels) / 2 + 0.5
    nearest = min(range(1, 20, 2), key=lambda k: (abs(k - target), -k))
    assert adaptive_kernel_size(channels) == nearest
    assert ECA(channels).conv.kernel_size == (nearest,)


@pytest.mark.parametrize('channels', [1, 5, 15])
def test_widths_below_the_reduction_keep_a_hidden_layer(channels):
    assert SE(channels).fc1.out_channels == CBAM(channels).fc1.out_features == 1
    assert CoordAtt(channels).conv1.out_channels == 8  # the authors' least
    for layer in (SE, ECA, CBAM, CoordAtt):
        assert layer(channels)(torch.rand(2, channels, 3, 4)).shape == (2, channels, 3, 4)


def test_state_dicts_have_the_documented_keys():
    layers = {
        SE(32): {'fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias'},
        ECA(32): {'conv.weight'},
        CBAM(32): {'fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias', 'conv.weight',
                   'bn.weight', 'bn.bias'},
        CoordAtt(32): {'conv1.weight', 'conv1.bias', 'bn1.weight', 'bn1.bias', 'conv_h.weight',
                       'conv_h.bias', 'conv_w.weight', 'conv_w.bias'},
    }  # fmt: skip
    for layer, keys in layers.items():
        assert {name for name, _ in layer.named_parameters()} == keys


def test_the_spatial_gate_of_cbam_starts_at_one_half():
    layer, x = CBAM(32), torch.randn(2, 32, 6, 6)
    layer.init_weights()
    y_c, y_s = layer.gate(x)
    assert torch.equal(y_s, torch.full_like(y_s, 0.5)) and y_c.std() > 0
    kept = CBAM(32, init_cfg=dict(type='Constant', layer='Linear', val=0))
    kept.init_weights()
    assert kept.gate(x)[1].std() > 0
