"""What is special in MMPreTrain's ResNet: a branch that may be dropped, an expansion to choose."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmela import ELA

resnet = pytest.importorskip(
    'mmpretrain.models.backbones.resnet', reason='MMPreTrain is not installed'
)
NARROW = dict(base_channels=16, stem_channels=16)
both_blocks = pytest.mark.parametrize('depth', [18, 50])


def build(depth, *plugins, **kwargs):
    torch.manual_seed(0)
    arguments = dict(type='mmela.ClsResNet', depth=depth, plugins=list(plugins), **NARROW)
    return MODELS.build(arguments | kwargs)


def after_conv2(**cfg):
    return dict(cfg=dict(type='mmela.ELA', num_groups=4, **cfg), position='after_conv2')


class AddOne(nn.Module):
    """A plugin that is not zero where its input is: after a dropped branch it would be seen."""

    _abbr_ = 'add_one'

    def __init__(self, in_channels):
        super().__init__()

    def forward(self, x):
        return x + 1


@pytest.fixture
def add_one(depth, monkeypatch):
    """An entry with it behind the last norm of the branch, next to where the branch is dropped."""
    monkeypatch.setitem(MODELS.module_dict, 'AddOne', AddOne)
    return dict(cfg=dict(type='AddOne'), position='after_conv2' if depth == 18 else 'after_conv3')


@both_blocks
def test_the_plugins_are_dropped_with_their_branch(depth, add_one):
    network = build(depth, add_one, drop_path_rate=0.5).train()
    block = network.layer3[1]
    block.drop_path.drop_prob = 1 - 1e-7  # of one sample in ten million the branch is kept
    x = torch.randn(2, block.in_channels, 8, 8)
    assert torch.equal(block(x.clone()), x.relu())
    kept = block.eval()(x.clone())
    assert not torch.allclose(kept, x.relu())


@both_blocks
def test_the_plugins_of_a_kept_branch_are_scaled_with_it(depth, add_one):
    block = build(depth, add_one, drop_path_rate=0.5).layer3[1]
    norm = block.norm2 if depth == 18 else block.norm3
    nn.init.zeros_(norm.weight)  # what the branch adds is the plugin's one
    block.train().drop_path.drop_prob = 0.5
    x = torch.randn(64, block.in_channels, 4, 4)
    outputs = block(x.clone())
    # Half of the samples keep it, divided by the probability to be kept.
    kept = [
        torch.allclose(out, (one + 1 / 0.5).relu()) for out, one in zip(outputs, x, strict=True)
    ]
    gone = [torch.equal(out, one.relu()) for out, one in zip(outputs, x, strict=True)]
    assert sum(kept) + sum(gone) == 64 and 10 < sum(kept) < 54


@both_blocks
def test_drop_path_drops_the_same_samples_as_in_the_parent(depth, add_one):
    block = build(depth, add_one, drop_path_rate=0.5).layer3[1]
    parent = resnet.ResNet(depth, drop_path_rate=0.5, **NARROW).layer3[1]
    assert block.drop_path.drop_prob == parent.drop_path.drop_prob > 0
    for one in (block, parent):  # the branch is the plugin's one here, and a bias of one there
        norm = one.norm2 if depth == 18 else one.norm3
        nn.init.zeros_(norm.weight)
        nn.init.constant_(norm.bias, float(one is parent))
    x, outputs = torch.randn(64, block.in_channels, 4, 4), []
    for one, seed in ((block, 1), (parent, 1), (parent, 2)):
        torch.manual_seed(seed)
        outputs.append(one.train()(x.clone()))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[1], outputs[2])  # another seed drops others


@pytest.mark.parametrize('expansion', [1, 2])
def test_a_bottleneck_of_another_expansion_has_three_positions(expansion):
    plugins = [
        dict(cfg=dict(type='mmela.ELA', num_groups=4, postfix=i), position=f'after_conv{i}')
        for i in (1, 2, 3)
    ]
    network = build(50, *plugins, expansion=expansion)
    block = network.layer2[1]
    widths = [block.ela1.in_channels, block.ela2.in_channels, block.ela3.in_channels]
    assert widths == [32, 32, 32 * expansion]
    assert network.eval()(torch.randn(1, 3, 64, 64))[-1].shape == (1, 128 * expansion, 2, 2)


def test_stages_choose_the_layers():
    network = build(18, dict(after_conv2(), stages=(False, True, False, True)))
    layers = [name.split('.')[0] for name, m in network.named_modules() if isinstance(m, ELA)]
    assert layers == ['layer2'] * 2 + ['layer4'] * 2


def test_stages_without_a_plugin_hold_the_parents_own_blocks():
    network = build(18, dict(after_conv2(), stages=(False, True, False, False)))
    assert type(network.layer1[0]) is resnet.BasicBlock
    assert type(network.layer2[0]) is not resnet.BasicBlock
