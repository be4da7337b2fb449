import pytest
from mmdet.models.backbones import ResNet
from torch import nn

from mmela.det import DetResNet
from mmela.engine.hooks.frozen import FrozenAttentionHook, frozen_attentions

PLUGINS = [dict(cfg=dict(type='mmela.ELA', variant='T'), position='after_conv2')]


class Net(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone


def resnet(network=ResNet, **arguments):
    return Net(network(50, base_channels=16, stem_channels=16, plugins=PLUGINS, **arguments))


def test_attention_in_frozen_stages_of_any_network_is_found():
    names = [f'backbone.layer1.{block}.ela' for block in range(3)]
    assert frozen_attentions(resnet(frozen_stages=1)) == names


def test_attention_that_is_trained_is_not_reported():
    assert frozen_attentions(resnet()) == []


def test_networks_of_mmela_are_left_to_their_own_warning():
    with pytest.warns(UserWarning, match='frozen_stages'):
        model = resnet(DetResNet, frozen_stages=1)
    assert frozen_attentions(model) == []


def test_the_hook_warns_once_before_training(monkeypatch):
    said = []
    monkeypatch.setattr('mmela.engine.hooks.frozen.print_log', lambda text, **k: said.append(text))

    class Runner:
        model = resnet(frozen_stages=1)
        logger = None

    FrozenAttentionHook().before_train(Runner())
    assert len(said) == 1 and said[0].startswith('3 attention layers lie in a frozen part')
