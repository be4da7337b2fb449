"""The grammar of a ``plugins`` list and every sentence it answers a mistake with."""

from __future__ import annotations

import pytest
from torch import nn

from mmela import ELA
from mmela.errors import ConfigError
from mmela.plugins import (
    add_plugins,
    at,
    build_plugin,
    init_with_plugins,
    parse_plugins,
    run_plugins,
)

ELA_T = dict(type='mmela.ELA', variant='T')


def parse(plugins):
    return parse_plugins(
        plugins, owner='mmela.Net', positions=('after_conv1', 'after_conv2'), num_stages=3
    )


def parse_places(plugins):
    """An owner whose positions count places of their own, such as a neck."""
    return parse_plugins(
        plugins,
        owner='mmela.Neck',
        positions=('inputs', 'after_concat', 'after_block'),
        num_stages=dict(inputs=3, after_concat=4, after_block=4),
        default_stages=dict(after_block=(False, True, True, False)),
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
    assert [p.cfg.get('postfix') for p in at(plugins, 'after_conv2', 1)] == [1, 2]
    assert [p.cfg.get('postfix') for p in at(plugins, 'after_conv2', 0)] == [1]


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
    flags = (True, False, False, False)
    plugins = parse_places(
        [dict(cfg=ELA_T, position=('after_concat', 'after_block'), stages=flags)]
    )
    assert [p.stages for p in plugins] == [flags, flags]


def test_stages_left_out_mean_what_the_owner_says_they_do():
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
PARSING = {
    r'plugins of mmela.Net must be a list': dict(ENTRY),
    r"must be a list .* and 'mmela.ELA' was given": 'mmela.ELA',
    r'plugins\[0\] of mmela.Net must be dict\(cfg=': ['mmela.ELA'],
    r"plugins\[1\] of mmela.Net lacks 'position'": [ENTRY, dict(cfg=ELA_T)],
    r"plugins\[0\] of mmela.Net lacks 'cfg'": [dict(position='after_conv1')],
    r"a key 'type'.*write it inside cfg": [dict(type='mmela.ELA', position='after_conv1')],
    r"a key 'stage'.*did you mean 'stages'": [dict(ENTRY, stage=(True,) * 3)],
    r"no position 'after_conf2'.*did you mean 'after_conv2'": [
        dict(cfg=ELA_T, position='after_conf2')
    ],
    r'positions are after_conv1, after_conv2\.': [dict(cfg=ELA_T, position='neck')],
    r'one bool for each of the 3 stages, such as \(False, True, True\), and \(True,\)': [
        dict(ENTRY, stages=(True,))
    ],
    r'one bool for each of the 3 stages.* and \(0, 1, 1\)': [dict(ENTRY, stages=(0, 1, 1))],
    r"cfg must be a dict with the layer's type": [dict(cfg='mmela.ELA', position='after_conv1')],
}
NEEDS_ONE_POSITION = {
    r"takes one position, and \('after_conv1', 'after_conv2'\) was given: write an entry": [
        dict(cfg=ELA_T, position=('after_conv1', 'after_conv2'))
    ],
    r"a key 'share', and an entry takes cfg, position, stages: its places cannot share": [
        dict(ENTRY, share=True)
    ],
}
PLACES = {
    r"no position 'after_cat'.*did you mean 'after_concat'": [
        dict(cfg=ELA_T, position=('inputs', 'after_cat'))
    ],
    r"no position \('inputs', 5\); the positions are inputs, after_concat, after_block": [
        dict(cfg=ELA_T, position=('inputs', 5))
    ],
    r'one position or several different ones of inputs, .*, and \[\] was given': [
        dict(cfg=ELA_T, position=[])
    ],
    r"several different ones of .*, and \('inputs', 'inputs'\) was given": [
        dict(cfg=ELA_T, position=('inputs', 'inputs'))
    ],
    r'stages cannot be meant for all of its positions, as inputs has 3 places and after_concat has '
    r'4 places; leave stages out': [
        dict(cfg=ELA_T, position=('inputs', 'after_concat'), stages=(True, True, True))
    ],
    r'one bool for each of the 3 places of inputs, such as \(False, True, True\)': [
        dict(cfg=ELA_T, position='inputs', stages=(True,) * 4)
    ],
    r"share must be True or False, and 'width' was given": [
        dict(cfg=ELA_T, position='inputs', share='width')
    ],
    r"a key 'shared', and an entry takes .*did you mean 'share'": [
        dict(cfg=ELA_T, position='inputs', shared=True)
    ],
}
BUILDING = {
    r"'mmela.Ela' is not a name of mmela.*did you mean 'ELA'": dict(type='mmela.Ela'),
    r"no layer is registered as 'ContextBlok'.*did you mean 'ContextBlock'": dict(
        type='ContextBlok'
    ),
    r'ContextBlock does not take these arguments \(AssertionError': dict(
        type='ContextBlock', ratio=0.25, pooling_type='x'
    ),
    r'in_channels is the width of the place, 64 here': dict(ELA_T, in_channels=32),
    r"postfix becomes part of a name.*'\.2' was given": dict(ELA_T, postfix='.2'),
    r'postfix becomes part of a name.*None was given': dict(ELA_T, postfix=None),
    r"unexpected keyword argument 'varient'; did you mean 'variant'": dict(ELA_T, varient='T'),
    r'kernel_size': dict(ELA_T, kernel_size=4),
}


@pytest.mark.parametrize('sentence', PARSING)
def test_a_wrong_entry_is_answered_with_a_sentence(sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(PARSING[sentence])


@pytest.mark.parametrize('sentence', NEEDS_ONE_POSITION)
def test_an_owner_with_one_layer_a_place_is_told_so_with_a_sentence(sentence):
    with pytest.raises(ConfigError, match=r'plugins\[0\] of mmela.Net .*' + sentence):
        parse(NEEDS_ONE_POSITION[sentence])


@pytest.mark.parametrize('sentence', PLACES)
def test_wrong_places_are_answered_with_a_sentence(sentence):
    with pytest.raises(ConfigError, match=r'plugins\[0\] of mmela.Neck.*' + sentence):
        parse_places(PLACES[sentence])


@pytest.mark.parametrize('sentence', BUILDING)
def test_a_wrong_layer_is_answered_with_a_sentence(sentence):
    (plugin,) = parse([dict(cfg=BUILDING[sentence], position='after_conv1')])
    with pytest.raises(ConfigError, match=r'plugins\[0\] of mmela.Net: .*' + sentence):
        build_plugin(plugin, 64)


def test_two_layers_of_one_name_need_a_postfix():
    plugins = parse([ENTRY, ENTRY])
    with pytest.raises(ConfigError, match=r"plugins\[1\].*'ela' already.*postfix='2'"):
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
