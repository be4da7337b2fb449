"""From Coordinate Attention to ELA: where the arguments of `mmela.CoordAtt` lead."""

from __future__ import annotations

import pytest
import torch

from mmela.attentions import ELA, CoordAtt

#: The arguments that make it ELA, by the paper's table of variants (section 3.4).
AS_ELA = {
    'T': dict(kernel_size=5, group_size=1, norm_cfg=dict(type='GN', num_groups=32)),
    'B': dict(kernel_size=7, group_size=1, norm_cfg=dict(type='GN', num_groups=16)),
    'S': dict(kernel_size=5, group_size=8, norm_cfg=dict(type='GN', num_groups=16)),
    'L': dict(kernel_size=7, group_size=8, norm_cfg=dict(type='GN', num_groups=16)),
}


@pytest.mark.parametrize('shape', [(2, 64, 9, 13), (1, 64, 1, 1), (3, 100, 5, 4)])
@pytest.mark.parametrize('residual', [False, True, 'scaled'])
@pytest.mark.parametrize('variant', AS_ELA)
@pytest.mark.filterwarnings('ignore:.*does not divide')  # 100 channels
def test_the_end_of_the_walk_is_ela(variant, residual, shape):
    torch.manual_seed(0)
    ela = ELA(shape[1], variant, residual=residual).double()
    for parameter in ela.parameters():
        torch.nn.init.normal_(parameter)
    end = CoordAtt(
        shape[1], reduction=None, joint=False, bias=False, residual=residual, **AS_ELA[variant]
    ).double()
    names = {'conv.weight': 'conv1.weight', 'gn.weight': 'gn1.weight', 'gn.bias': 'gn1.bias'}
    state = {names.get(key, key): value for key, value in ela.state_dict().items()}
    state['conv1.weight'] = state['conv1.weight'].unsqueeze(3)  # a strip is a map of width 1
    end.load_state_dict(state)

    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(end(x), ela(x), rtol=1e-12, atol=1e-12)
    for gate, expected in zip(end.gate(x), ela.gate(x), strict=True):
        torch.testing.assert_close(gate, expected, rtol=1e-12, atol=1e-12)


def test_joined_strips_meet_in_the_norm():
    """The gates of rows hear of the columns through the statistics, and only if joined."""
    torch.manual_seed(0)
    x, shift = torch.randn(2, 32, 6, 8), torch.randn(8)
    along_rows = x + shift - shift.mean()  # leaves the mean of each row as it was
    for norm_cfg, joint, moves in (
        (dict(type='GN', num_groups=4), True, True),
        (dict(type='GN', num_groups=4), False, False),
        (None, True, False),
    ):
        layer = CoordAtt(32, norm_cfg=norm_cfg, joint=joint)
        before, after = layer.gate(x)[0], layer.gate(along_rows)[0]
        assert torch.allclose(before, after, atol=1e-5) is not moves


def test_without_reduction_the_width_stays_and_the_second_pair_goes():
    full, direct = CoordAtt(48, reduction=1), CoordAtt(48, reduction=None)
    assert full.conv1.weight.shape == direct.conv1.weight.shape == (48, 48, 1, 1)
    assert full.conv_h.weight.shape == (48, 48, 1, 1)
    assert {key.split('.')[0] for key in direct.state_dict()} == {'conv1', 'bn1'}
    x = torch.randn(2, 48, 5, 6)
    z = direct.eval().conv1(x.mean(3, keepdim=True))
    expected = torch.sigmoid(z / (1 + 1e-5) ** 0.5)  # a fresh BatchNorm, no activation
    torch.testing.assert_close(direct.gate(x)[0], expected)


def test_a_kernel_reaches_along_the_strip_and_no_further():
    layer = CoordAtt(16, joint=False, kernel_size=3, norm_cfg=None)
    x = torch.randn(1, 16, 7, 9)
    changed = x.clone()
    changed[:, :, 3] += 1
    moved = (layer.gate(x)[0] - layer.gate(changed)[0]).abs().amax((0, 1, 3)) > 1e-6
    assert moved.tolist() == [False, False, True, True, True, False, False]


@pytest.mark.parametrize('group_size, groups', [(None, 1), (1, 48), (8, 6), (48, 1), (100, 1)])
@pytest.mark.filterwarnings('ignore:.*does not divide')
def test_group_size_counts_the_channels_of_a_group(group_size, groups):
    assert CoordAtt(48, reduction=None, group_size=group_size).conv1.groups == groups


def test_groups_that_do_not_divide_the_hidden_width_fall_to_the_next_divisor():
    with pytest.warns(UserWarning, match=r'CoordAtt\(96\): groups=96 does not divide 8 channels'):
        layer = CoordAtt(96, group_size=1)
    assert layer.conv1.groups == 8
    assert layer(torch.rand(1, 96, 3, 3)).shape == (1, 96, 3, 3)
