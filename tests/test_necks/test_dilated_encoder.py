"""YOLOF's encoder: the authors' layout written out by hand, the places, and initialisation."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.necks import DilatedEncoder as Parent
from mmdet.testing import demo_mm_inputs
from mmengine.config import ConfigDict
from mmengine.model import Sequential, revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope

from mmela import ELA
from mmela.engine import load_config
from mmela.errors import ConfigError

SMALL = dict(
    in_channels=64, out_channels=32, block_mid_channels=8, num_residual_blocks=4,
    block_dilations=[1, 2, 3, 4],
)  # fmt: skip
ELA_T = dict(type='mmela.ELA', variant='T')
#: The authors' layout, YOLOF/models/yolof/encoder.py of their repository.
AUTHORS = [
    dict(cfg=dict(ELA_T, residual=True), position=('inputs', 'after_projector')),
    dict(cfg=dict(ELA_T, residual=True), position='around_block', stages=(True, True, True, False)),
]
POSITIONS = ('inputs', 'after_projector', 'before_block', 'after_block', 'around_block')


def entry(position=POSITIONS, stages=None, **cfg):
    return dict(cfg=dict(ELA_T, **cfg), position=position, stages=stages)


def build(*plugins):
    torch.manual_seed(7)
    arguments = dict(SMALL, plugins=list(plugins) or None)
    encoder = MODELS.build(dict(type='mmela.DilatedEncoder', **arguments))
    encoder.init_weights()
    return encoder


def build_parent():
    torch.manual_seed(7)
    encoder = Parent(**SMALL)
    encoder.init_weights()
    return encoder


def parent_with_weights_of(encoder):
    parent = build_parent()
    state = encoder.state_dict()
    parent.load_state_dict({key: state[key] for key in parent.state_dict()})
    return parent.train(encoder.training)


def open_blocks(encoder):
    """The blocks start with weights of 0.01, and their sum with the identity would hide them."""
    for parameter in encoder.dilated_encoder_blocks.parameters():
        if parameter.dim() == 4:
            torch.nn.init.kaiming_normal_(parameter)
    return encoder


def randomised(encoder):
    """Gives the gates random weights, so that no two layers compute the same."""
    for layer in layers_of(encoder).values():
        torch.nn.init.normal_(layer.gn.weight)
        torch.nn.init.normal_(layer.gn.bias)
    return encoder


def layers_of(encoder):
    return {name: m for name, m in encoder.named_modules() if isinstance(m, ELA)}


def calls_of(encoder, *inputs):
    """The calls of the attention layers in their order: name, what went in, what came out."""
    calls = []
    for name, layer in layers_of(encoder).items():
        layer.register_forward_hook(lambda m, a, out, name=name: calls.append((name, a[0], out)))
    encoder(*inputs)
    return calls


@pytest.fixture
def features():
    """C4, which the encoder does not look at, and C5."""
    torch.manual_seed(0)
    return torch.randn(2, 8, 18, 14), torch.randn(2, 64, 9, 7)


def ela_t(x, layer):
    """Equations 1, 2, 5, 6 of the paper with the numbers of variant T."""

    def gate(z):
        z = F.conv1d(z, layer.conv.weight, padding=2, groups=z.size(1))
        return torch.sigmoid(F.group_norm(z, 32, layer.gn.weight, layer.gn.bias))

    return x * gate(x.mean(3)).unsqueeze(3) * gate(x.mean(2)).unsqueeze(2)


@pytest.mark.parametrize('plugins', [[], [entry('after_block', stages=(False,) * 4)]])
def test_without_plugins_it_is_its_parent_bit_for_bit(plugins, features):
    ours, parent = build(*plugins), build_parent()
    ours_types, parent_types = ([type(m) for m in n.modules()][1:] for n in (ours, parent))
    assert ours_types == parent_types
    ours_state, parent_state = ours.state_dict(), parent.state_dict()
    assert list(ours_state) == list(parent_state)
    assert all(torch.equal(ours_state[key], parent_state[key]) for key in parent_state)
    (out,), (expected,) = ours(features), parent(features)
    assert torch.equal(out, expected)


def test_the_authors_layout_has_eight_places_and_five_layers(features):
    encoder = build(*AUTHORS)
    around = [f'ela_around_block_{i}' for i in range(3)]
    assert list(layers_of(encoder)) == ['ela_inputs', 'ela_after_projector', *around]
    new = set(encoder.state_dict()) - set(build_parent().state_dict())
    assert {key.split('.')[0] for key in new} == set(layers_of(encoder))
    parameters = sum(p.numel() for m in layers_of(encoder).values() for p in m.parameters())
    assert parameters == 7 * (64 + 4 * 32)
    names = [name for name, _, _ in calls_of(encoder, features)]
    assert names == ['ela_inputs', 'ela_after_projector', *sorted(2 * around)]


def test_the_authors_layout_computes_what_their_network_does(features):
    """Their forward written out (YOLOF/models/yolof/encoder.py) on the weights of the encoder."""
    encoder = randomised(open_blocks(build(*AUTHORS))).double().eval()
    c5 = features[-1].double()
    at_c5, at_projector, *at_blocks = layers_of(encoder).values()
    x = c5 + ela_t(c5, at_c5)
    x = encoder.lateral_norm(encoder.lateral_conv(x))
    x = encoder.fpn_norm(encoder.fpn_conv(x))
    x = x + ela_t(x, at_projector)
    *with_layer, last = encoder.dilated_encoder_blocks
    for block, layer in zip(with_layer, at_blocks, strict=True):
        x = x + ela_t(x, layer)
        branch = block.conv3(block.conv2(block.conv1(x)))
        x = x + branch
        x = x + ela_t(x, layer)
    x = x + last.conv3(last.conv2(last.conv1(x)))
    (out,) = encoder([c5])
    torch.testing.assert_close(out, x)


def test_each_position_is_where_its_name_says(features):
    """Against what goes into and comes out of the convolutions and the blocks."""
    encoder = randomised(open_blocks(build(entry()))).eval()
    seen = {}

    def record(name, module):
        module.register_forward_hook(lambda m, a, out: seen.update({name: (a[0], out)}))

    record('lateral', encoder.lateral_conv)
    record('fpn', encoder.fpn_norm)
    for i, block in enumerate(encoder.dilated_encoder_blocks):
        record(f'block {i}', block)
    calls = calls_of(encoder, features)
    names = ['ela_inputs', 'ela_after_projector']
    for i in range(4):
        around = f'ela_around_block_{i}'
        names += [f'ela_before_block_{i}', around, f'ela_after_block_{i}', around]
    assert [name for name, _, _ in calls] == names
    (_, c5, weighted), (_, projected, into_blocks), *in_blocks = calls
    assert c5 is features[-1] and seen['lateral'][0] is weighted
    assert projected is seen['fpn'][1]
    for i in range(4):
        into, out = seen[f'block {i}']
        before, around_before, after, around_after = in_blocks[4 * i : 4 * i + 4]
        assert before[1] is into_blocks and around_before[1] is before[2]
        assert into is around_before[2]
        assert after[1] is out and around_after[1] is after[2]
        into_blocks = around_after[2]


@pytest.mark.parametrize('plugins', [AUTHORS, [entry()]])
def test_scaled_layers_leave_the_encoder_as_it_was_after_init_weights(plugins, features):
    equal = {}
    for residual in ('scaled', True):
        scaled = [dict(p, cfg=dict(p['cfg'], residual=residual)) for p in plugins]
        encoder = open_blocks(build(*scaled))
        parent = parent_with_weights_of(encoder)
        equal[residual] = torch.equal(encoder(features)[0], parent(features)[0])
    assert equal == {'scaled': True, True: False}  # the second shows that a difference would show


def test_a_checkpoint_of_the_parent_lacks_the_attention_and_nothing_else():
    encoder = build(*AUTHORS)
    result = encoder.load_state_dict(build_parent().state_dict(), strict=False)
    assert result.unexpected_keys == []
    attention = {f'{n}.{key}' for n, m in layers_of(encoder).items() for key in m.state_dict()}
    assert set(result.missing_keys) == attention


def test_plugins_at_one_place_are_chained_in_the_order_of_the_list(features):
    flags = (False, True, False, False)
    encoder = build(
        entry('after_block', flags, postfix='2'),
        entry('around_block', flags),
        entry(('before_block', 'after_block'), flags),
    )
    calls = calls_of(encoder, features)
    assert [name for name, _, _ in calls] == [
        'ela_around_block_1', 'ela_before_block_1',
        'ela2_after_block_1', 'ela_around_block_1', 'ela_after_block_1',
    ]  # fmt: skip
    for (_, _, out), (_, into, _) in [calls[:2], calls[2:4], calls[3:]]:
        assert into is out


def test_a_layers_own_init_cfg_has_the_last_word():
    """The parent sets every norm of its blocks to 1, and MMEngine's recursion ends at it."""
    init_cfg = dict(type='Constant', layer='GroupNorm', val=0.5)
    encoder = build(entry(init_cfg=init_cfg))
    assert len(layers_of(encoder)) == 2 + 3 * 4
    assert all((layer.gn.weight == 0.5).all() for layer in layers_of(encoder).values())
    # Within a detector it is the detector's `init_weights` that calls the encoder's.
    arguments = dict(type='mmela.DilatedEncoder', plugins=[entry(init_cfg=init_cfg)], **SMALL)
    outer = Sequential(MODELS.build(arguments))
    outer.init_weights()
    assert all((layer.gn.weight == 0.5).all() for layer in layers_of(outer).values())


def test_a_deep_copy_uses_its_own_attention(features):
    encoder = build(*AUTHORS).eval()
    average, (before,) = copy.deepcopy(encoder), encoder(features)
    randomised(average)
    assert torch.equal(encoder(features)[0], before)
    assert not torch.allclose(average(features)[0], before, rtol=0.1)


INVALID = [
    ([entry('after_projecter')], "'after_projecter'; did you mean 'after_projector'"),
    ([entry('around_block', (True,) * 3)], r'stages .* 4 places of around_block'),
    ([entry('inputs', (True,) * 4)], r'stages .* of inputs, such as \(True,\)'),
    ([entry(('inputs', 'before_block'), (True,) * 4)], '1 at inputs and 4 at before_block'),
    ([dict(entry('after_block'), share=True)], "'share'; leave share out"),
]


@pytest.mark.parametrize('plugins, named', INVALID)
def test_an_invalid_entry_is_an_error_that_names_the_fix(plugins, named):
    with pytest.raises(ConfigError, match=rf'plugins\[0\] of mmela.DilatedEncoder: .*{named}'):
        build(*plugins)


def test_yolof_r50_takes_a_step_with_every_layer_in_it():
    cfg = load_config('mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py').model
    cfg.backbone.init_cfg = None
    cfg.neck.update(type='mmela.DilatedEncoder', plugins=[ConfigDict(p) for p in AUTHORS])
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg))
    model.init_weights()
    data = model.data_preprocessor(demo_mm_inputs(2, [[3, 96, 96]] * 2, num_classes=80), True)
    loss, _ = model.train().parse_losses(model(**data, mode='loss'))
    loss.backward()
    layers = layers_of(model)
    assert [layer.in_channels for layer in layers.values()] == [2048, 512, 512, 512, 512]
    for name, layer in layers.items():
        assert all(p.grad is not None and p.grad.any() for p in layer.parameters()), name
