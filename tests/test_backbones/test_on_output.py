"""The position `on_output` of the CSP backbones: the neck sees it, the next stage does not."""

from __future__ import annotations

import pytest
import torch
from mmdet.models.backbones.csp_darknet import CSPDarknet
from mmdet.models.backbones.cspnext import CSPNeXt
from mmdet.testing import demo_mm_inputs
from mmengine.config import ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope

from mmela import ELA
from mmela.engine import load_config
from mmela.errors import ConfigError

PARENTS = {'mmela.CSPDarknet': CSPDarknet, 'mmela.CSPNeXt': CSPNeXt}
SLIM = dict(deepen_factor=0.1, widen_factor=0.125)
both = pytest.mark.parametrize('network_type', PARENTS)


def entry(position='on_output', stages=None, **cfg):
    layer = dict(dict(type='mmela.ELA', variant='B'), **cfg)
    return dict(cfg=layer, position=position, stages=stages)


def build(network_type, *plugins, **kwargs):
    torch.manual_seed(7)
    network = MODELS.build(dict(type=network_type, plugins=list(plugins), **SLIM, **kwargs))
    network.init_weights()
    for layer in layers_of(network).values():
        torch.nn.init.normal_(layer.gn.bias)  # so that no two layers do the same
    # As initialised, the maps would fade to 1e-12 on their way; the norms learn what they meet.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()(torch.randn(2, 3, 64, 64))
    return network.eval()


def parent_of(network, **kwargs):
    parent = PARENTS[f'mmela.{type(network).__name__}'](**SLIM, **kwargs)
    state = network.state_dict()
    parent.load_state_dict({key: state[key] for key in parent.state_dict()})
    parent.eval()  # returns None in the toolbox
    return parent


def layers_of(network):
    return {name: m for name, m in network.named_modules() if isinstance(m, ELA)}


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.randn(2, 3, 64, 64)


@both
def test_the_neck_sees_the_attention_and_no_stage_does(network_type, images):
    network = build(network_type, entry())
    layers = [getattr(network, f'ela_on_output_stage{i}') for i in (2, 3, 4)]
    plain = parent_of(network)(images)
    for out, layer, before in zip(network(images), layers, plain, strict=True):
        assert torch.equal(out, layer(before))
        assert not torch.allclose(out, before, rtol=0.1)


@both
def test_behind_a_stage_the_next_stage_sees_the_attention_too(network_type, images):
    network = build(network_type, entry('after_stage', (False, False, True, False)))
    outs, plain = network(images), parent_of(network)(images)
    assert torch.equal(outs[0], plain[0])
    assert torch.equal(outs[1], network.stage3.ela(plain[1]))
    assert torch.equal(outs[2], network.stage4(outs[1]))
    assert not torch.allclose(outs[2], plain[2], rtol=0.1)


@both
def test_one_entry_at_both_positions_runs_two_layers(network_type, images):
    flags = (False, False, True, False)
    network = build(network_type, entry(('after_stage', 'on_output'), flags))
    plain = parent_of(network)(images)
    behind = network.stage3.ela(plain[1])
    outs = network(images)
    assert torch.equal(outs[1], network.ela_on_output_stage3(behind))
    assert torch.equal(outs[2], network.stage4(behind))


@both
def test_stages_left_out_mean_the_output_stages(network_type):
    network = build(network_type, entry(), out_indices=(1, 4))
    assert set(layers_of(network)) == {'ela_on_output_stage1', 'ela_on_output_stage4'}


@both
def test_the_order_of_out_indices_does_not_matter(network_type, images):
    first, second = (build(network_type, entry(), out_indices=i) for i in [(4, 2), (2, 4)])
    for out, expected in zip(first(images), second(images), strict=True):
        assert torch.equal(out, expected)


@both
def test_the_stem_is_no_stage_and_stays_as_it_is_where_it_is_an_output(network_type, images):
    network = build(network_type, entry(), out_indices=(0, 2))
    assert set(layers_of(network)) == {'ela_on_output_stage2'}
    (stem, out), (plain_stem, plain) = (
        n(images) for n in (network, parent_of(network, out_indices=(0, 2)))
    )
    assert torch.equal(stem, plain_stem)
    assert torch.equal(out, network.ela_on_output_stage2(plain))


@both
def test_two_at_one_output_are_chained_in_order(network_type, images):
    flags = (False, False, False, True)
    network = build(network_type, entry(stages=flags, postfix=1), entry(stages=flags, postfix=2))
    expected = parent_of(network)(images)[-1]
    for name in ('ela1_on_output_stage4', 'ela2_on_output_stage4'):
        expected = getattr(network, name)(expected)
    assert torch.equal(network(images)[-1], expected)


@pytest.mark.parametrize(
    'out_indices, stages, outputs',
    [
        ((2, 3, 4), (True, True, True, True), '(False, True, True, True)'),
        ((4,), (False, False, True, True), '(False, False, False, True)'),
        ((0,), None, '(False, False, False, False)'),
    ],
)
@both
def test_a_stage_that_is_not_an_output_is_refused(network_type, out_indices, stages, outputs):
    with pytest.raises(ConfigError, match=rf'plugins\[0\] of {network_type}: on_output') as error:
        build(network_type, entry(stages=stages), out_indices=out_indices)
    assert outputs in str(error.value) and f'out_indices={out_indices}' in str(error.value)


@both
def test_a_frozen_stage_does_not_freeze_the_layer_on_its_output(network_type, images):
    network = build(network_type, entry(), frozen_stages=4).train()
    assert not any(p.requires_grad for p in network.stage4.parameters())
    sum(out.square().sum() for out in network(images)).backward()
    for name, layer in layers_of(network).items():
        assert layer.training, name
        assert all(p.grad is not None and p.grad.any() for p in layer.parameters()), name


@both
def test_a_checkpoint_has_the_last_word_over_the_layers_own_init_cfg(network_type, tmp_path):
    plugin = entry(init_cfg=dict(type='Constant', layer='GroupNorm', val=0.5))
    trained = build(network_type, plugin)
    assert (trained.ela_on_output_stage2.gn.weight == 0.5).all()
    torch.nn.init.normal_(trained.ela_on_output_stage2.gn.weight)
    torch.save(trained.state_dict(), tmp_path / 'trained.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'trained.pth'))
    network = MODELS.build(dict(type=network_type, plugins=[plugin], init_cfg=init_cfg, **SLIM))
    network.init_weights()
    state = network.state_dict()
    for key, value in trained.state_dict().items():
        assert torch.equal(state[key], value), key


@both
def test_under_autocast_the_outputs_have_the_parents_dtype(network_type, images):
    network = build(network_type, entry())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        dtypes = [[out.dtype for out in n(images)] for n in (network, parent_of(network))]
    assert dtypes[0] == dtypes[1] == [torch.bfloat16] * 3


@pytest.mark.parametrize('position', ['after_stage', 'on_output'])
def test_rtmdet_tiny_takes_a_step_with_every_layer_in_it(position):
    cfg = load_config('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py').model
    cfg.backbone.update(type='mmela.CSPNeXt', init_cfg=None, plugins=[ConfigDict(entry(position))])
    cfg.data_preprocessor.batch_augments = None
    init_default_scope('mmdet')
    model = revert_sync_batchnorm(MODELS.build(cfg))
    model.init_weights()
    data = model.data_preprocessor(demo_mm_inputs(2, [[3, 64, 64]] * 2, num_classes=80), True)
    loss, _ = model.train().parse_losses(model(**data, mode='loss'))
    loss.backward()
    layers = layers_of(model)
    assert len(layers) == {'after_stage': 4, 'on_output': 3}[position]
    for name, layer in layers.items():
        assert all(p.grad is not None and p.grad.any() for p in layer.parameters()), name
