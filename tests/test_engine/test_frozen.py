import pytest
from mmcv.cnn.bricks import ContextBlock
from mmdet.models.backbones import ResNet
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn

from mmela import ELA
from mmela.det import DetResNet
from mmela.engine.hooks.frozen import FrozenPluginsHook, frozen_plugins

PLUGINS = [
    dict(cfg=dict(type='mmela.ELA', variant='T'), position='after_conv2'),
    dict(cfg=dict(type='ContextBlock', ratio=0.25), position='after_conv3'),
]
CONFIG = Config(dict(model=dict(type='Net', backbone=dict(type='ResNet', plugins=PLUGINS))))


class Net(nn.Module):
    def __init__(self, network=ResNet, **arguments):
        super().__init__()
        self.backbone = network(
            50, base_channels=16, stem_channels=16, plugins=PLUGINS, **arguments
        )


@pytest.mark.parametrize('network', [ResNet, DetResNet])
def test_plugins_of_any_kind_in_frozen_stages_of_any_network_are_found(network):
    model = Net(network, frozen_stages=1)
    frozen = frozen_plugins(model, CONFIG.model)
    expected = {
        name
        for name, module in model.named_modules()
        if name.startswith('backbone.layer1.') and isinstance(module, (ELA, ContextBlock))
    }
    assert set(frozen) == expected and len(frozen) == 2 * 3


def test_plugins_that_are_trained_are_not_reported():
    assert frozen_plugins(Net(), CONFIG.model) == []


def test_a_list_in_a_grammar_of_the_users_own_is_accepted():
    assert frozen_plugins(Net(), dict(plugins=['a', dict(b=1)])) == []


def test_the_hook_warns_once_before_training(warned):
    class Runner:
        model = Net(frozen_stages=1)
        cfg = CONFIG
        logger = MMLogger.get_current_instance()

    FrozenPluginsHook().before_train(Runner())
    (message,) = warned()
    assert '6 plugins' in message and 'frozen_stages' in message
    assert 'backbone.layer1.0.ela' in message
