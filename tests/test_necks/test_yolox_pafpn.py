"""YOLOX's neck: the authors' layout written out by hand, the places, and what sharing means."""

from __future__ import annotations

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.necks import YOLOXPAFPN as Parent
from mmdet.testing import demo_mm_inputs
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.model import BaseModule
from mmengine.registry import MODELS, init_default_scope

from mmela import ELA
from mmela.engine import load_config
from mmela.errors import ConfigError

NANO = dict(in_channels=[64, 128, 256], out_channels=64, num_csp_blocks=1, use_depthwise=True)
FOUR = dict(in_channels=[32, 64, 96, 128], out_channels=32, num_csp_blocks=1)
#: Name: arguments, widths of the inputs, widths of the concatenations in their order.
NECKS = {
    'nano': (NANO, [64, 128, 256], [256, 128, 128, 256]),
    'four inputs': (FOUR, [32, 64, 96, 128], [192, 128, 64, 64, 128, 192]),
}
every_neck = pytest.mark.parametrize('name', NECKS)
#: The authors' layout, YOLOX/nets/yolo.py of their repository.
AUTHORS = dict(
    cfg=dict(type='mmela.ELA', variant='T'), position=('inputs', 'after_concat'), share=True
)


def entry(position=('inputs', 'after_concat'), share=False, stages=None, **cfg):
    layer = dict(dict(type='mmela.ELA', variant='T'), **cfg)
    return dict(cfg=layer, position=position, share=share, stages=stages)


def build(*plugins, name='nano'):
    torch.manual_seed(7)
    arguments = dict(NECKS[name][0], plugins=list(plugins) or None)
    neck = MODELS.build(dict(type='mmela.YOLOXPAFPN', **arguments))
    neck.init_weights()
    return neck


def build_parent(name='nano'):
    torch.manual_seed(7)
    neck = Parent(**NECKS[name][0])
    neck.init_weights()
    return neck


def parent_with_weights_of(neck, name='nano'):
    parent = build_parent(name)
    state = neck.state_dict()
    parent.load_state_dict({key: state[key] for key in parent.state_dict()})
    return parent.train(neck.training)


def inputs_of(name='nano'):
    torch.manual_seed(0)
    widths = NECKS[name][1]
    sizes = [2 ** (len(widths) - i) for i in range(len(widths))]
    return [torch.randn(2, w, 2 * s, 3 * s) for w, s in zip(widths, sizes, strict=True)]


def layers_of(neck):
    return {name: m for name, m in neck.named_modules() if isinstance(m, ELA)}


def randomised(neck):
    """Gives the gates random weights, so that no two layers compute the same."""
    for layer in layers_of(neck).values():
        torch.nn.init.normal_(layer.gn.weight)
        torch.nn.init.normal_(layer.gn.bias)
    return neck


def calls_of(neck, *inputs):
    """The calls of the attention layers in their order: name, what went in, what came out."""
    calls = []
    for name, layer in layers_of(neck).items():
        layer.register_forward_hook(lambda m, a, out, name=name: calls.append((name, a[0], out)))
    neck(*inputs)
    return calls


def ela_t(x, layer):
    """Equations 1, 2, 5, 6 of the paper with the numbers of variant T."""

    def gate(z):
        z = F.conv1d(z, layer.conv.weight, padding=2, groups=z.size(1))
        return torch.sigmoid(F.group_norm(z, 32, layer.gn.weight, layer.gn.bias))

    return x * gate(x.mean(3)).unsqueeze(3) * gate(x.mean(2)).unsqueeze(2)


@every_neck
@pytest.mark.parametrize('has_unused', [False, True])
def test_without_plugins_it_is_its_parent_bit_for_bit(name, has_unused):
    unused = entry('inputs', stages=(False,) * len(NECKS[name][1]))
    ours, parent = build(*[unused] * has_unused, name=name), build_parent(name)
    ours_types, parent_types = ([type(m) for m in n.modules()][1:] for n in (ours, parent))
    assert ours_types == parent_types
    ours_state, parent_state = ours.state_dict(), parent.state_dict()
    assert list(ours_state) == list(parent_state)
    assert all(torch.equal(ours_state[key], parent_state[key]) for key in parent_state)
    for out, expected in zip(ours(inputs_of(name)), parent(inputs_of(name)), strict=True):
        assert torch.equal(out, expected)


def test_the_authors_layout_has_seven_places_and_three_layers():
    neck = build(AUTHORS)
    assert list(layers_of(neck)) == ['ela_64', 'ela_128', 'ela_256']
    assert sum(p.numel() for layer in layers_of(neck).values() for p in layer.parameters()) == (
        7 * (64 + 128 + 256)
    )
    new = set(neck.state_dict()) - set(build_parent().state_dict())
    parameters = ('conv.weight', 'gn.weight', 'gn.bias')
    assert new == {f'ela_{width}.{key}' for width in (64, 128, 256) for key in parameters}
    assert [name for name, _, _ in calls_of(neck, inputs_of())] == [
        'ela_64', 'ela_128', 'ela_256',  # inputs
        'ela_256', 'ela_128',  # top-down
        'ela_128', 'ela_256',  # bottom-up
    ]  # fmt: skip


def test_the_authors_layout_computes_what_their_network_does():
    """Their forward written out (YOLOX/nets/yolo.py) on the weights of the neck."""
    neck = randomised(build(AUTHORS)).double()
    inputs = [x.double() for x in inputs_of()]
    c3, c4, c5 = inputs
    expected_neck = copy.deepcopy(neck)  # training moves the statistics of the norms
    lateral_conv0, reduce_conv1 = expected_neck.reduce_layers
    c3_p4, c3_p3 = expected_neck.top_down_blocks
    bu_conv2, bu_conv1 = expected_neck.downsamples
    c3_n3, c3_n4 = expected_neck.bottom_up_blocks
    a64, a128, a256 = layers_of(expected_neck).values()

    def up(x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    c3, c4, c5 = ela_t(c3, a64), ela_t(c4, a128), ela_t(c5, a256)
    p5 = lateral_conv0(c5)
    p4 = reduce_conv1(c3_p4(ela_t(torch.cat([up(p5), c4], 1), a256)))
    p3_out = c3_p3(ela_t(torch.cat([up(p4), c3], 1), a128))
    p4_out = c3_n3(ela_t(torch.cat([bu_conv2(p3_out), p4], 1), a128))
    p5_out = c3_n4(ela_t(torch.cat([bu_conv1(p4_out), p5], 1), a256))
    stems = zip(expected_neck.out_convs, (p3_out, p4_out, p5_out), strict=True)
    expected = [conv(out) for conv, out in stems]

    torch.testing.assert_close(list(neck(inputs)), expected)
    plain = parent_with_weights_of(neck.float()).double()(inputs)
    assert all(not torch.allclose(o, e, rtol=0.1) for o, e in zip(plain, expected, strict=True))


def test_places_do_not_share_by_default():
    neck = build(entry())
    names = [f'ela_inputs_{i}' for i in range(3)] + [f'ela_after_concat_{i}' for i in range(4)]
    assert list(layers_of(neck)) == names
    assert [name for name, _, _ in calls_of(neck, inputs_of())] == names
    assert [layer.in_channels for layer in layers_of(neck).values()] == [
        64, 128, 256, 256, 128, 128, 256
    ]  # fmt: skip
    keys = set(neck.state_dict()) - set(build_parent().state_dict())
    assert {key.split('.')[0] for key in keys} == set(names)


@every_neck
def test_plugins_after_concat_run_between_the_concatenation_and_its_block(name):
    _, _, concat_widths = NECKS[name]
    neck = randomised(build(entry('after_concat'), name=name)).eval()
    into_block = []
    for block in (*neck.top_down_blocks, *neck.bottom_up_blocks):
        block.register_forward_pre_hook(lambda m, args: into_block.append(args[0]))
    calls = calls_of(neck, inputs_of(name))
    assert [seen.size(1) for _, seen, _ in calls] == concat_widths
    assert all(out is x for (_, _, out), x in zip(calls, into_block, strict=True))
    # No plugin comes before the first concatenation: it is the parent's.
    into_parent = []
    parent = parent_with_weights_of(neck, name)
    parent.top_down_blocks[0].register_forward_pre_hook(lambda m, args: into_parent.append(args[0]))
    parent(inputs_of(name))
    assert torch.equal(calls[0][1], into_parent[0])


@every_neck
def test_plugins_on_inputs_run_before_all_of_the_parent(name):
    neck = randomised(build(entry('inputs'), name=name)).eval()
    inputs = [layer(x) for layer, x in zip(layers_of(neck).values(), inputs_of(name), strict=True)]
    expected = parent_with_weights_of(neck, name)(inputs)
    for out, one in zip(neck(inputs_of(name)), expected, strict=True):
        assert torch.equal(out, one)


@every_neck
@pytest.mark.parametrize('share', [False, True])
def test_scaled_layers_leave_the_neck_as_it_was(name, share):
    equal = {}
    for residual in ('scaled', True):
        neck = build(entry(share=share, residual=residual), name=name)
        outs, plain = (n(inputs_of(name)) for n in (neck, parent_with_weights_of(neck, name)))
        equal[residual] = all(torch.equal(o, p) for o, p in zip(outs, plain, strict=True))
    assert equal == {'scaled': True, True: False}  # the second shows that a difference would show


def test_a_checkpoint_of_the_parent_lacks_the_attention_and_nothing_else():
    neck = build(AUTHORS)
    result = neck.load_state_dict(build_parent().state_dict(), strict=False)
    assert result.unexpected_keys == []
    attention = {f'{name}.{key}' for name, m in layers_of(neck).items() for key in m.state_dict()}
    assert set(result.missing_keys) == attention


def test_sharing_takes_one_layer_a_width_in_a_neck_of_any_widths():
    neck = build(entry(share=True), name='four inputs')
    assert list(layers_of(neck)) == [f'ela_{width}' for width in (32, 64, 96, 128, 192)]
    names = [name for name, _, _ in calls_of(neck, inputs_of('four inputs'))]
    assert names == [f'ela_{w}' for w in (32, 64, 96, 128, 192, 128, 64, 64, 128, 192)]


def test_stages_choose_among_the_places_of_one_position_shared_or_not():
    last_two = dict(position='after_concat', stages=(False, False, True, True))
    assert set(layers_of(build(entry(**last_two)))) == {'ela_after_concat_2', 'ela_after_concat_3'}
    neck = build(entry(**last_two, share=True))
    assert [name for name, _, _ in calls_of(neck, inputs_of())] == ['ela_128', 'ela_256']


@pytest.mark.parametrize('share', [False, True])
def test_plugins_at_one_place_are_chained_in_order(share):
    neck = build(entry(share=share, postfix='b'), entry(share=share, postfix='a'))
    calls = calls_of(neck, inputs_of())
    assert len(calls) == 14
    for (first, _, out), (second, seen, _) in zip(calls[::2], calls[1::2], strict=True):
        assert first.startswith('elab_') and second.startswith('elaa_')
        assert seen is out


@pytest.mark.parametrize('plugin', [AUTHORS, entry()])
def test_a_deep_copy_uses_its_own_attention(plugin):
    neck = build(plugin).eval()
    average, before = copy.deepcopy(neck), neck(inputs_of())
    randomised(average)
    for out, changed, expected in zip(neck(inputs_of()), average(inputs_of()), before, strict=True):
        assert torch.equal(out, expected)
        assert not torch.allclose(changed, expected, rtol=0.1)


def test_the_parents_rules_come_first_and_a_layers_own_init_cfg_last():
    class Conv(BaseModule):
        _abbr_ = 'conv_plugin'

        def __init__(self, in_channels, init_cfg=None):
            super().__init__(init_cfg)
            self.conv = torch.nn.Conv2d(in_channels, in_channels, 1)
            torch.nn.init.zeros_(self.conv.weight)

        def forward(self, x):
            return self.conv(x)

    own = dict(type='Constant', layer='Conv2d', val=0.25)
    for init_cfg in (None, own):
        neck = build(dict(cfg=dict(type=Conv, init_cfg=init_cfg), position='inputs'))
        weights = [m.conv.weight for m in neck.modules() if isinstance(m, Conv)]
        assert len(weights) == 3
        for weight in weights:  # Kaiming's is neither
            assert weight.any() and (weight == 0.25).all() == (init_cfg is own)


def test_under_autocast_the_outputs_have_the_parents_dtype():
    neck = build(AUTHORS).eval()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        dtypes = [[o.dtype for o in n(inputs_of())] for n in (neck, parent_with_weights_of(neck))]
    assert dtypes[0] == dtypes[1] == [torch.bfloat16] * 3


INVALID = [
    ([entry(stages=(True, True, True))], '3 at inputs and 4 at after_concat'),
    ([entry('inputs', stages=(True,))], r'stages .* 3 places of inputs.* \(False, True, True\)'),
    ([entry('after_concat', stages=(True, True, True))], '4 places of after_concat'),
    ([entry(('inputs', 'after_cat'))], "inputs, after_concat, .*'after_cat'.*'after_concat'"),
    ([AUTHORS, AUTHORS], r"plugins\[1\].*'ela_64' is taken.* postfix"),
    ([entry('inputs'), entry('inputs')], r"plugins\[1\].*'ela_inputs_0' is taken"),
]


@pytest.mark.parametrize('plugins, named', INVALID)
def test_an_invalid_entry_is_an_error_that_names_the_fix(plugins, named):
    with pytest.raises(ConfigError, match=r'of mmela.YOLOXPAFPN: ') as error:
        build(*plugins)
    assert re.search(named, str(error.value))


def test_another_number_of_maps_is_refused():
    with pytest.raises(ConfigError, match=r'3 maps.*in_channels=\[64, 128, 256\], got 2'):
        build(AUTHORS)(inputs_of()[1:])


@pytest.mark.parametrize('plugin', [AUTHORS, entry()])
def test_yolox_nano_takes_a_step_with_every_layer_in_it(plugin):
    cfg = load_config('mmdet::yolox/yolox_nano_8xb8-300e_coco.py').model
    cfg.neck.update(type='mmela.YOLOXPAFPN', plugins=[ConfigDict(plugin)])
    cfg.data_preprocessor.batch_augments = None
    init_default_scope('mmdet')
    MessageHub.get_current_instance().update_info('iter', 0)
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    data = model.data_preprocessor(demo_mm_inputs(2, [[3, 64, 64]] * 2, num_classes=80), True)
    loss, _ = model.train().parse_losses(model(**data, mode='loss'))
    loss.backward()
    layers = layers_of(model)
    assert len(layers) == (3 if plugin is AUTHORS else 7)
    for name, layer in layers.items():
        assert all(p.grad is not None and p.grad.any() for p in layer.parameters()), name
