"""The grammar of a ``plugins`` list: what it means, and the errors for invalid entries."""

from __future__ import annotations

import pytest
from torch import nn

from mmela import ELA
from mmela.errors import ConfigError
from mmela.plugins import (
    add_plugins,
    build_plugin,
    init_with_plugins,
    parse_plugins,
    plugins_at,
    run_plugins,
)

ELA_T = dict(type='mmela.ELA', variant='T')


def parse(plugins):
    return parse_plugins(
        plugins, owner='mmela.Net', positions=('after_conv1', 'after_conv2'), num_stages=3
    )


def parse_places(plugins):
    """A network with other places at each position, such as a neck."""
    return parse_plugins(
        plugins,
        owner='mmela.Neck',
        positions=('inputs', 'after_concat', 'after_block'),
        num_stages=dict(inputs=3, after_concat=4, after_block=4),
        available=dict(after_block=((False, True, True, False), 'the inner two')),
        allow_several=True,
        allow_share=True,
    )


@pytest.mark.parametrize('empty', [None, [], ()])
def test_no_plugins_are_no_plugins(empty):
    assert parse(empty) == []


def test_stages_left_out_mean_all_of_them():
    (plugin,) = parse([dict(cfg=ELA_T, position='after_conv1')])
    assert plugin.stages == (True, True, True)


def test_entries_are_found_by_position_and_stage_in_order():
    plugins = parse(
        [
            dict(cfg=dict(ELA_T, postfix=1), position='after_conv2', stages=(True, True, False)),
            dict(cfg=ELA_T, position='after_conv1'),
            dict(cfg=dict(ELA_T, postfix=2), position='after_conv2', stages=[False, True, True]),
        ]
    )
    assert [p.cfg.get('postfix') for p in plugins_at(plugins, 'after_conv2', 1)] == [1, 2]
    assert [p.cfg.get('postfix') for p in plugins_at(plugins, 'after_conv2', 0)] == [1]


@pytest.mark.parametrize('several', [('inputs', 'after_concat'), ['inputs', 'after_concat']])
def test_an_entry_with_several_positions_is_one_at_each_of_them(several):
    first, second, other = parse_places(
        [dict(cfg=ELA_T, position=several, share=True), dict(cfg=ELA_T, position='inputs')]
    )
    assert (first.position, first.stages) == ('inputs', (True,) * 3)
    assert (second.position, second.stages) == ('after_concat', (True,) * 4)
    assert first.label == second.label != other.label
    assert first.share and second.share and not other.share


def test_stages_of_several_positions_count_the_places_of_each():
    flags = (False, True, False, False)
    plugins = parse_places(
        [dict(cfg=ELA_T, position=('after_concat', 'after_block'), stages=flags)]
    )
    assert [p.stages for p in plugins] == [flags, flags]


def test_stages_left_out_mean_those_that_have_the_position():
    (plugin,) = parse_places([dict(cfg=ELA_T, position='after_block')])
    assert plugin.stages == (False, True, True, False)


def test_a_layer_is_named_after_its_abbreviation_and_postfix():
    (plugin,) = parse([dict(cfg=dict(ELA_T, postfix='_x'), position='after_conv1')])
    name, layer = build_plugin(plugin, 64)
    assert name == 'ela_x'
    assert isinstance(layer, ELA) and layer.in_channels == 64 and layer.variant == 'T'


def test_building_leaves_the_config_as_it_was():
    entry = dict(cfg=dict(ELA_T, postfix=1), position='after_conv1')
    add_plugins(nn.Module(), parse([entry]), 64)
    assert entry == dict(cfg=dict(ELA_T, postfix=1), position='after_conv1')


@pytest.mark.parametrize('layer_type', ['ELA', 'mmela.ELA', ELA])
def test_a_layer_may_be_named_or_given(layer_type):
    (plugin,) = parse([dict(cfg=dict(type=layer_type), position='after_conv1')])
    assert isinstance(build_plugin(plugin, 64)[1], ELA)


def test_plugin_layers_of_mmcv_are_plugins_too():
    (plugin,) = parse([dict(cfg=dict(type='ContextBlock', ratio=0.25), position='after_conv1')])
    assert build_plugin(plugin, 64)[0] == 'context_block'


ENTRY = dict(cfg=ELA_T, position='after_conv1')
#: An invalid list, and what the message has to name: the entry, the key or value, and the fix.
INVALID = [
    (dict(ENTRY), ['plugins of mmela.Net', 'list']),
    ('mmela.ELA', ['plugins of mmela.Net', 'list', "'mmela.ELA'"]),
    (['mmela.ELA'], ['plugins[0] of mmela.Net', 'dict(cfg=']),
    ([ENTRY, dict(cfg=ELA_T)], ['plugins[1] of mmela.Net', "'position'"]),
    ([dict(position='after_conv1')], ['plugins[0] of mmela.Net', "'cfg'"]),
    ([dict(type='mmela.ELA', position='after_conv1')], ["'type'", 'write it inside cfg']),
    ([dict(ENTRY, stage=(True,) * 3)], ["'stage'", "did you mean 'stages'"]),
    ([dict(cfg=ELA_T, position='after_conf2')], ["'after_conf2'", "did you mean 'after_conv2'"]),
    ([dict(cfg=ELA_T, position='neck')], ['after_conv1, after_conv2', "'neck'"]),
    ([dict(ENTRY, stages=(True,))], ['stages', '3 stages', '(False, True, True)', '(True,)']),
    ([dict(ENTRY, stages=(0, 1, 1))], ['stages', '3 stages', '(0, 1, 1)']),
    ([dict(cfg='mmela.ELA', position='after_conv1')], ['cfg', "dict(type='mmela.ELA')"]),
    (
        [dict(cfg=ELA_T, position=('after_conv1', 'after_conv2'))],
        ['one position', "('after_conv1', 'after_conv2')", 'postfix'],
    ),
    ([dict(ENTRY, share=True)], ['cfg, position, stages', "'share'", 'leave share out']),
]
INVALID_PLACES = [
    (('inputs', 'after_cat'), {}, ["'after_cat'", "did you mean 'after_concat'"]),
    (('inputs', 5), {}, ["('inputs', 5)", 'inputs, after_concat, after_block']),
    ([], {}, ['position', '[]']),
    (('inputs', 'inputs'), {}, ['different', "('inputs', 'inputs')"]),
    (
        ('inputs', 'after_concat'),
        dict(stages=(True, True, True)),
        ['3 at inputs', '4 at after_concat', 'leave stages out'],
    ),
    ('inputs', dict(stages=(True,) * 4), ['3 places of inputs', '(False, True, True)']),
    ('inputs', dict(share='width'), ['share', 'True or False', "'width'"]),
    ('inputs', dict(shared=True), ["'shared'", "did you mean 'share'"]),
    (
        'after_block',
        dict(stages=(True,) * 4),
        ['after_block', '(False, True, True, False)', 'the inner two', 'leave stages out'],
    ),
]
INVALID_LAYERS = [
    (dict(type='mmela.Ela'), ["'mmela.Ela'", "did you mean 'ELA'"]),
    (dict(type='ContextBlok'), ["'ContextBlok'", "did you mean 'ContextBlock'"]),
    (
        dict(type='ContextBlock', ratio=0.25, pooling_type='x'),
        ['ContextBlock does not take these arguments', 'AssertionError'],
    ),
    (dict(type='NonLocal2d', reduction=0), ['NonLocal2d does not take', 'ZeroDivisionError']),
    (dict(type='GeneralizedAttention', num_heads=0), ['GeneralizedAttention does not take']),
    (dict(type='ContextBlock', ratio=0), ['ContextBlock does not take', 'ratio=0', 'no channels']),
    (dict(type='ContextBlock', ratio=-1), ['ContextBlock does not take', 'RuntimeError']),
    (dict(ELA_T, in_channels=32), ['leave in_channels out', '64']),
    (dict(ELA_T, postfix='.2'), ['postfix', "'.2'"]),
    (dict(ELA_T, postfix=None), ['postfix', 'None']),
    (dict(ELA_T, varient='T'), ["'varient'", "did you mean 'variant'"]),
    (dict(ELA_T, kernel_size=4), ['kernel_size']),
]


@pytest.mark.parametrize('plugins, named', INVALID)
def test_an_invalid_entry_is_an_error_that_names_key_and_fix(plugins, named):
    with pytest.raises(ConfigError) as error:
        parse(plugins)
    assert [text for text in named if text not in str(error.value)] == []


@pytest.mark.parametrize('position, others, named', INVALID_PLACES)
def test_invalid_places_are_an_error_that_names_key_and_fix(position, others, named):
    with pytest.raises(ConfigError, match=r'plugins\[0\] of mmela.Neck') as error:
        parse_places([dict(cfg=ELA_T, position=position, **others)])
    assert [text for text in named if text not in str(error.value)] == []


@pytest.mark.parametrize('cfg, named', INVALID_LAYERS)
def test_an_invalid_layer_is_an_error_that_names_key_and_fix(cfg, named):
    (plugin,) = parse([dict(cfg=cfg, position='after_conv1')])
    with pytest.raises(ConfigError, match=r'plugins\[0\] of mmela.Net: ') as error:
        build_plugin(plugin, 64)
    assert [text for text in named if text not in str(error.value)] == []


def test_two_layers_of_one_name_need_a_postfix():
    plugins = parse([ENTRY, ENTRY])
    with pytest.raises(ConfigError, match=r"plugins\[1\].*'ela' is taken.*postfix='2'"):
        add_plugins(nn.Module(), plugins, 64)


def test_layers_of_several_places_in_one_module_end_in_a_suffix_and_run_in_order():
    module = nn.Module()
    plugins = parse([dict(cfg=dict(type=Add, value=1, postfix=i), position='after_conv1')
                     for i in (1, 2)])  # fmt: skip
    names = add_plugins(module, plugins, 64, suffix='_inputs_0')
    assert names == ['add1_inputs_0', 'add2_inputs_0']
    assert [name for name, _ in module.named_children()] == names
    assert run_plugins(module, names, 0) == 64 + 1 + 64 + 1
    assert run_plugins(module, [], 5) == 5


class Add(nn.Module):
    def __init__(self, in_channels, value):
        super().__init__()
        self.value = in_channels + value

    def forward(self, x):
        return x + self.value


@pytest.mark.parametrize(
    'init_cfg, order',
    [
        (None, ['network', 'layer']),
        (dict(type='Kaiming', layer='Conv2d'), ['network', 'layer']),
        (dict(type='Pretrained', checkpoint='x.pth'), ['layer', 'network']),
        ([dict(type='Pretrained', checkpoint='x.pth')], ['layer', 'network']),
    ],
)
def test_layers_are_initialised_behind_the_network_and_before_a_checkpoint(init_cfg, order):
    calls = []

    class Layer(nn.Module):
        is_init = False

        def init_weights(self):
            calls.append('layer')

    done = Layer()
    done.is_init = True
    init_with_plugins(lambda: calls.append('network'), [Layer(), done, nn.ReLU()], init_cfg)
    assert calls == order
