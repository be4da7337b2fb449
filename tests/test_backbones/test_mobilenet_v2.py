"""What is special in MobileNetV2: two places, a block without one of them, three toolboxes."""

from __future__ import annotations

import copy

import pytest
import torch
from mmcv.cnn import ConvModule
from mmcv.cnn.utils import fuse_conv_bn
from mmdet.models.layers import InvertedResidual
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from torch.nn import functional as F

from mmela import ELA
from mmela.det import DetMobileNetV2
from mmela.errors import ConfigError

#: Where the depthwise convolution of a block with an expansion is, and the projection.
CONVS = dict(
    Det=('depthwise_conv', 'linear_conv'), Seg=('conv.1', 'conv.2'), Cls=('conv.1', 'conv.2')
)
#: Widths of the 16 expanded maps and of the 17 blocks' outputs (Sandler et al., 2018, table 2).
EXPANDED = [96, 144, 144, *[192] * 3, *[384] * 4, *[576] * 3, *[960] * 3]
OUTPUTS = [16, *[24] * 2, *[32] * 3, *[64] * 4, *[96] * 3, *[160] * 3, 320]
every_toolbox = pytest.mark.parametrize('toolbox', CONVS)
both_positions = pytest.mark.parametrize('position', ['after_depthwise', 'after_block'])


def entry(position, stages=None, **cfg):
    found = dict(cfg=dict(type='mmela.ELA', num_groups=4, **cfg), position=position)
    return found if stages is None else dict(found, stages=stages)


def build(toolbox, *plugins, **kwargs):
    if toolbox == 'Cls':
        pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')
    torch.manual_seed(7)
    kwargs.setdefault('widen_factor', 0.25)
    return MODELS.build(dict(type=f'mmela.{toolbox}MobileNetV2', plugins=list(plugins), **kwargs))


def attentions(network):
    return {name: m for name, m in network.named_modules() if isinstance(m, ELA)}


def seen_by(network, names, x):
    """Inputs and outputs of some modules, copied because ReLU6 works in place."""
    seen, modules = {}, dict(network.named_modules())
    for name in names:
        modules[name].register_forward_hook(
            lambda m, args, out, name=name: seen.update({name: (args[0].clone(), out.clone())})
        )
    network.eval()(x)
    return [seen[name] for name in names]


def randomised(network):
    """Norms that cut at both ends of ReLU6."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(1, 6)
            module.bias.data.uniform_(-2, 4)
    return network


@every_toolbox
def test_after_depthwise_stands_between_relu6_and_the_projection(toolbox):
    network = randomised(build(toolbox, entry('after_depthwise')))
    depthwise, projection = (f'layer3.1.{name}' for name in CONVS[toolbox])
    (_, normed), (seen, gated), (projected, _) = seen_by(
        network,
        [f'{depthwise}.bn', f'{depthwise}.ela', f'{projection}.conv'],
        torch.randn(1, 3, 64, 64),
    )
    assert normed.min() < 0 and normed.max() > 6
    assert torch.equal(seen, F.relu6(normed))
    assert torch.equal(projected, gated) and not torch.equal(gated, seen)


@every_toolbox
def test_after_block_stands_behind_the_addition(toolbox):
    network = randomised(build(toolbox, entry('after_block')))
    projection = CONVS[toolbox][1]
    (x, out), (_, projected), (seen, gated), (x_next, _) = seen_by(
        network,
        ['layer3.1', f'layer3.1.{projection}', 'layer3.1.ela', 'layer3.2'],
        torch.randn(1, 3, 64, 64),
    )
    assert torch.equal(seen, x + projected)
    assert torch.equal(out, gated) and torch.equal(x_next, gated)


@every_toolbox
def test_after_block_stands_behind_the_projection_where_nothing_is_added(toolbox):
    network = build(toolbox, entry('after_block'))
    (_, projected), (seen, _) = seen_by(
        network, [f'layer3.0.{CONVS[toolbox][1]}', 'layer3.0.ela'], torch.randn(1, 3, 64, 64)
    )
    assert torch.equal(seen, projected)


@every_toolbox
@pytest.mark.parametrize(
    'position, widths', [('after_depthwise', EXPANDED), ('after_block', OUTPUTS)]
)
def test_left_out_stages_mean_every_block_that_has_the_place(toolbox, position, widths):
    network = build(toolbox, entry(position), widen_factor=1.0)
    assert [layer.in_channels for layer in attentions(network).values()] == widths


def parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    'cfg, published',
    [
        (None, 3.505),
        (dict(type='mmela.ELA', variant='B'), 3.569),
        (dict(type='mmela.ELA', variant='L'), 3.917),
        (dict(type='mmela.CoordAtt'), 3.951),
    ],
)
def test_totals_with_the_classifier_of_imagenet_are_the_published_ones(cfg, published):
    """MMDetection's network ends in the 1280 channels that the classifier takes."""
    plugins = [] if cfg is None else [dict(cfg=cfg, position='after_depthwise')]
    with torch.device('meta'):
        network = build('Det', *plugins, widen_factor=1.0)
        classifier = torch.nn.Linear(1280, 1000)
    assert round((parameters(network) + parameters(classifier)) / 1e6, 3) == published


@both_positions
@pytest.mark.parametrize('toolbox', ['Det', 'Seg'])
def test_stages_choose_the_layers(toolbox, position):
    stages = (False, True, False, False, True, False, False)
    network = build(toolbox, entry(position, stages))
    layers = [name.split('.')[0] for name in attentions(network)]
    assert layers == ['layer2'] * 2 + ['layer5'] * 3


@every_toolbox
def test_after_depthwise_at_the_block_without_it_is_refused(toolbox):
    with pytest.raises(ConfigError, match=rf'plugins\[0\] of mmela.{toolbox}MobileNetV2') as error:
        build(toolbox, entry('after_depthwise', (True,) * 7))
    assert 'after_depthwise exists at the stages (False, True, ' in str(error.value)
    build(toolbox, entry('after_block', (True,) * 7))


@pytest.mark.parametrize(
    'wrong, named',
    [
        (entry('after_depth'), "did you mean 'after_depthwise'?"),
        (entry('after_block', (True,) * 4), '7 stages'),
        (dict(entry('after_block'), cfg=dict(type='mmela.ELA', postfix='-')), 'postfix'),
    ],
)
def test_an_invalid_entry_is_an_error_that_names_the_fix(wrong, named):
    with pytest.raises(ConfigError) as error:
        build('Seg', wrong)
    assert named in str(error.value)


@both_positions
def test_a_name_that_is_taken_is_an_error_that_names_the_fix(position):
    with pytest.raises(ConfigError, match=r"plugins\[1\] .*'ela' is taken.* postfix"):
        build('Cls', entry(position), entry(position))


def test_a_block_that_takes_no_plugins_is_refused():
    class Other(InvertedResidual):
        pass

    class OtherMobileNetV2(DetMobileNetV2):
        plugin_blocks = {Other: Other}

    OtherMobileNetV2(plugins=[entry('after_depthwise')])  # a place in a ConvModule
    with pytest.raises(ConfigError, match='built of InvertedResidual, which takes no plugins'):
        OtherMobileNetV2(plugins=[entry('after_block')])


@pytest.mark.parametrize(
    'toolbox, position',
    [('Det', 'after_depthwise'), ('Seg', 'after_block'), ('Cls', 'after_depthwise')],
)
def test_plugins_at_one_position_are_chained_in_order(toolbox, position):
    network = build(toolbox, entry(position, postfix=1), entry(position, postfix=2))
    first, second = (n for n in attentions(network) if n.startswith('layer3.1.'))
    assert first.endswith('ela1') and second.endswith('ela2')
    (_, made), (taken, _) = seen_by(network, [first, second], torch.randn(1, 3, 64, 64))
    assert torch.equal(made, taken)


@pytest.mark.parametrize('positions', [('after_block', 'after_depthwise'), None])
def test_both_positions_need_no_postfix(positions):
    plugins = [entry(positions)] if positions else [entry('after_block'), entry('after_depthwise')]
    network = build('Seg', *plugins)
    assert len(attentions(network)) == len(EXPANDED) + len(OUTPUTS)


@every_toolbox
def test_checkpointed_blocks_have_the_same_gradients_and_recompute_the_plugin_in_them(toolbox):
    """`with_cp` recomputes a block in backward instead of keeping it."""
    gradients, calls = [], []
    for with_cp in (False, True):
        plugins = [entry(p, residual=True) for p in ('after_depthwise', 'after_block')]
        network = build(toolbox, *plugins, with_cp=with_cp).train()
        attention = network.get_submodule(f'layer3.1.{CONVS[toolbox][0]}.ela')
        attention.register_forward_hook(lambda *args, with_cp=with_cp: calls.append(with_cp))
        torch.manual_seed(0)
        network(torch.randn(2, 3, 64, 64))[-1].square().sum().backward()
        gradients.append([m.conv.weight.grad for m in attentions(network).values()])
    assert all(gradient.abs().max() > 0 for gradient in gradients[0])
    torch.testing.assert_close(*gradients)
    assert calls == [False, True, True]


@both_positions
def test_frozen_stages_freeze_the_attention_in_them(position):
    network = build('Det', entry(position), frozen_stages=2).train()
    for name, layer in attentions(network).items():
        trained = all(p.requires_grad for p in layer.parameters())
        assert trained != name.startswith(('layer1', 'layer2'))


@pytest.mark.parametrize('toolbox, position', [('Det', 'after_block'), ('Cls', 'after_depthwise')])
def test_the_layers_own_initialisation_follows_the_networks(toolbox, position):
    """The parents set every GroupNorm below them to 1."""
    init_cfg = dict(type='Constant', layer='GroupNorm', val=0.5)
    network = build(toolbox, entry(position, init_cfg=init_cfg))
    network.init_weights()
    assert all((layer.gn.weight == 0.5).all() for layer in attentions(network).values())


@pytest.mark.parametrize(
    'toolbox, by',
    [('Cls', 'init_cfg'), ('Det', 'pretrained'), ('Seg', 'pretrained')],
)
@pytest.mark.filterwarnings('ignore:DeprecationWarning. pretrained')
def test_pretrained_weights_have_the_last_word(toolbox, by, tmp_path):
    init_cfg = dict(type='Constant', layer='GroupNorm', val=0.5)
    plugins = entry('after_depthwise', init_cfg=init_cfg), entry('after_block', postfix=2)
    trained = randomised(build(toolbox, *plugins))
    for layer in attentions(trained).values():
        torch.nn.init.normal_(layer.gn.weight)
    path = str(tmp_path / 'trained.pth')
    torch.save(trained.state_dict(), path)
    source = path if by == 'pretrained' else dict(type='Pretrained', checkpoint=path)
    network = build(toolbox, *plugins, **{by: source})
    network.init_weights()
    state = network.state_dict()
    for key, value in trained.state_dict().items():
        assert torch.equal(state[key], value), key


@every_toolbox
def test_a_checkpoint_without_attention_leaves_the_layers_as_they_initialise_themselves(
    toolbox, tmp_path
):
    plain = randomised(build(toolbox))
    path = str(tmp_path / 'plain.pth')
    torch.save(plain.state_dict(), path)
    own = entry('after_depthwise', init_cfg=dict(type='Constant', layer='GroupNorm', val=0.5))
    network = build(toolbox, own, init_cfg=dict(type='Pretrained', checkpoint=path))
    network.init_weights()
    state = network.state_dict()
    for key, value in plain.state_dict().items():
        assert torch.equal(state[key], value), key
    assert all((layer.gn.weight == 0.5).all() for layer in attentions(network).values())


@every_toolbox
def test_fused_norms_and_reverted_syncbn_keep_the_attention(toolbox):
    plugins = [entry(p, residual=True) for p in ('after_depthwise', 'after_block')]
    network = randomised(build(toolbox, *plugins, norm_cfg=dict(type='SyncBN')))
    reverted = revert_sync_batchnorm(network)
    x = torch.randn(2, 3, 64, 64)
    for module in reverted.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # takes the statistics of one pass over
    reverted.train()(x)
    expected = reverted.eval()(x)[-1]
    assert expected.std() > 0.1
    fused = fuse_conv_bn(copy.deepcopy(reverted))
    assert len(attentions(fused)) == len(EXPANDED) + len(OUTPUTS)
    torch.testing.assert_close(fused(x)[-1], expected, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        for layer in attentions(fused).values():
            layer.gn.bias.normal_(std=3)
    assert not torch.allclose(fused(x)[-1], expected, rtol=0.1)


@every_toolbox
def test_the_block_is_still_the_toolboxs_and_its_convolution_mmcvs(toolbox):
    network = build(toolbox, entry('after_depthwise'), entry('after_block'))
    plain = build(toolbox)
    for ours, theirs in zip(network.layer3, plain.layer3, strict=True):
        assert isinstance(ours, type(theirs))
    depthwise = network.get_submodule(f'layer3.1.{CONVS[toolbox][0]}')
    assert isinstance(depthwise, ConvModule) and depthwise.norm is depthwise.bn
