"""Attention maps are the gates of the layers, and looking at them changes nothing."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from mmela.attentions import CBAM, ECA, ELA, SE, CoordAtt
from mmela.visualization import overlay_attention, record_attention


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 32, 3), ELA(32, 'T'), nn.ReLU(), ELA(32, 'B')).eval()


def test_a_map_is_the_channel_mean_of_the_product_of_both_gates(network):
    image = torch.rand(2, 3, 11, 9)
    with record_attention(network) as maps:
        network(image)
    y_h, y_w = network[1].gate(network[0](image))
    expected = (y_h * y_w).mean(dim=1).detach().numpy()
    np.testing.assert_allclose(maps['1'][0], expected, rtol=1e-5)
    assert maps['1'][0].shape == (2, 9, 7)


@pytest.mark.parametrize('layer', [SE, ECA, CBAM, CoordAtt, ELA])
def test_every_attention_has_a_map_of_the_size_of_its_input(layer):
    torch.manual_seed(0)
    attention, x = layer(32), torch.randn(2, 32, 9, 7)
    network = nn.Sequential(attention)
    with record_attention(network) as maps:
        out = network(x)
    # The gates multiply, so their mean is that of what the layer makes of a map over the map.
    expected = (out / x).mean(dim=1).detach().numpy()
    np.testing.assert_allclose(maps['0'][0], expected, rtol=1e-3)
    assert (np.ptp(maps['0'][0], axis=(1, 2)) == 0).all() == (layer in (SE, ECA))


@pytest.mark.parametrize('layer', [CBAM, CoordAtt])
def test_recording_a_network_in_training_leaves_its_statistics_to_the_forward_pass(layer):
    states = []
    for recorded in (True, False):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 32, 3), layer(32)).train()
        image = torch.rand(2, 3, 8, 8)
        if recorded:
            with record_attention(network):
                network(image)
        else:
            network(image)
        states.append(network.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])


def test_every_layer_and_every_pass_is_recorded(network):
    with record_attention(network) as maps:
        network(torch.rand(1, 3, 8, 8))
        network(torch.rand(1, 3, 6, 6))
    assert {name: [one.shape for one in passes] for name, passes in maps.items()} == {
        '1': [(1, 6, 6), (1, 4, 4)],
        '3': [(1, 6, 6), (1, 4, 4)],
    }


def test_the_output_is_the_same_while_it_is_recorded(network):
    image = torch.rand(1, 3, 8, 8)
    expected = network(image)
    with record_attention(network):
        assert torch.equal(network(image), expected)


def test_no_hook_is_left_behind(network):
    with pytest.raises(RuntimeError), record_attention(network):
        network(torch.rand(1, 5, 8, 8))
    assert not any(module._forward_pre_hooks for module in network.modules())
    with record_attention(network) as maps:
        pass
    copy.deepcopy(network)(torch.rand(1, 3, 8, 8))
    assert maps == {}


def test_a_network_without_attention_gives_an_empty_record():
    with record_attention(nn.Conv2d(3, 4, 1)) as maps:
        pass
    assert maps == {}


def test_the_overlay_is_red_where_attention_is_highest_and_blue_where_it_is_lowest():
    attention = np.zeros((6, 6), np.float32)
    attention[:, 3:] = 1
    overlay = overlay_attention(np.full((48, 48, 3), 128, np.uint8), attention)
    assert overlay.shape == (48, 48, 3)
    assert overlay.dtype == np.uint8
    blue, _, red = overlay[24, 4]
    assert blue > red
    blue, _, red = overlay[24, 44]
    assert red > blue


def test_a_constant_map_can_be_drawn():
    image = np.zeros((8, 8, 3), np.uint8)
    assert np.ptp(overlay_attention(image, np.full((2, 2), 0.5)), axis=(0, 1)).max() == 0
