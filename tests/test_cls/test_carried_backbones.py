"""A classifier's backbone, attention included, as the start of a detector and a segmenter."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import load_state_dict

from mmela import ELA
from mmela.engine.hooks.load_report import LoadWatch

pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')

RESIDUAL = dict(base_channels=16, stem_channels=16)
#: Network, arguments, position, and arguments with which every toolbox returns the same map.
LAYOUTS = {
    'resnet18': ('ResNet', dict(depth=18, **RESIDUAL), 'after_conv2', dict(out_indices=(3,))),
    'resnet50': ('ResNet', dict(depth=50, **RESIDUAL), 'after_conv2', dict(out_indices=(3,))),
    'mobile': ('MobileNetV2', dict(widen_factor=0.25), 'after_depthwise', dict(out_indices=(6,))),
    'mobile_block': ('MobileNetV2', dict(widen_factor=0.25), 'after_block', dict(out_indices=(6,))),
}
every_layout = pytest.mark.parametrize('layout', LAYOUTS)
both_toolboxes = pytest.mark.parametrize('toolbox', ['Det', 'Seg'])


def build(toolbox, layout, **kwargs):
    kind, arguments, position, same_output = LAYOUTS[layout]
    kwargs.setdefault(
        'plugins', [dict(cfg=dict(type='mmela.ELA', num_groups=4), position=position)]
    )
    arguments = dict(arguments, **same_output, type=f'mmela.{toolbox}{kind}')
    return MODELS.build(arguments | kwargs)


def randomised(network):
    """Norms and biases with values of their own, the running averages too."""
    for tensor in network.state_dict().values():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5)
    return network


@pytest.fixture
def classifier(tmp_path):
    """Writes a classifier's checkpoint, as training does; returns its backbone and the path."""

    def write(layout, **kwargs):
        torch.manual_seed(0)
        backbone = randomised(build('Cls', layout, **kwargs))
        state = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
        state |= {'head.fc.weight': torch.rand(3, 4), 'head.fc.bias': torch.rand(3)}
        path = tmp_path / 'classifier.pth'
        torch.save(dict(state_dict=state, meta={}), path)
        return backbone, str(path)

    return write


def outputs_of(network):
    outs = network.eval()(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    return outs[-1] if isinstance(outs, tuple) else outs


@every_layout
@both_toolboxes
def test_every_key_finds_its_place_and_the_maps_are_the_classifiers(classifier, layout, toolbox):
    source, path = classifier(layout)
    init_cfg = dict(type='Pretrained', prefix='backbone.', checkpoint=path)
    backbone = build(toolbox, layout, init_cfg=init_cfg)
    reports = []
    watch = LoadWatch(backbone, path, 'backbone', reports.append)
    backbone.init_weights()
    watch.remove()
    (report,) = reports
    assert report.is_complete and not report.warnings()
    assert report.loaded == list(backbone.state_dict())
    assert any('ela' in key for key in report.loaded)
    assert torch.equal(outputs_of(backbone), outputs_of(source))


@every_layout
@both_toolboxes
@pytest.mark.parametrize('by', ['torch', 'mmengine'])
def test_a_whole_network_that_holds_the_backbone_loads_it_too(classifier, layout, toolbox, by):
    source, path = classifier(layout)
    network = torch.nn.ModuleDict(dict(backbone=build(toolbox, layout)))
    state = torch.load(path, weights_only=True)['state_dict']
    if by == 'torch':
        result = network.load_state_dict(state, strict=False)
        assert result.missing_keys == []
        assert {key.split('.')[0] for key in result.unexpected_keys} == {'head'}
    else:
        load_state_dict(network, state)
    assert torch.equal(outputs_of(network.backbone), outputs_of(source))


@pytest.mark.parametrize('layout', ['mobile', 'mobile_block'])
@both_toolboxes
def test_a_network_that_was_carried_over_loads_its_own_checkpoints(classifier, layout, toolbox):
    _, path = classifier(layout)
    trained = build(toolbox, layout)
    trained.load_state_dict(
        {
            key.removeprefix('backbone.'): value
            for key, value in torch.load(path, weights_only=True)['state_dict'].items()
            if key.startswith('backbone.')
        }
    )
    other = build(toolbox, layout)
    assert str(other.load_state_dict(trained.state_dict())) == '<All keys matched successfully>'


@both_toolboxes
def test_a_classifier_without_attention_lacks_the_attention_and_nothing_else(classifier, toolbox):
    _, path = classifier('mobile', plugins=None)
    init_cfg = dict(type='Pretrained', prefix='backbone.', checkpoint=path)
    backbone = build(toolbox, 'mobile', init_cfg=init_cfg)
    reports = []
    watch = LoadWatch(backbone, path, 'backbone', reports.append)
    backbone.init_weights()
    watch.remove()
    layers = [module for module in backbone.modules() if isinstance(module, ELA)]
    assert len(reports[0].new) == 3 * len(layers) == 48
    assert not reports[0].untrained and not reports[0].unexpected


@both_toolboxes
def test_a_block_that_the_network_lacks_stays_unexpected(toolbox):
    state = build('Cls', 'mobile').state_dict()
    state |= {'layer2.0.conv.3.conv.weight': torch.rand(1), 'layer9.0.conv.0.bias': torch.rand(1)}
    result = build(toolbox, 'mobile').load_state_dict(state, strict=False)
    assert result.missing_keys == [] and len(result.unexpected_keys) == 2


def test_the_state_dict_of_the_caller_is_left_as_it_was():
    state = build('Cls', 'mobile').state_dict()
    keys = list(state)
    for toolbox in ('Det', 'Seg'):
        build(toolbox, 'mobile').load_state_dict(state, strict=False)
    assert list(state) == keys
