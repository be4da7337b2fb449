"""Whatever a config says, it builds and runs, or fails with an error that names the key."""

from __future__ import annotations

import copy
import os

import pytest
import torch
from mmengine.config import Config

import mmela
from mmela.attentions import __all__ as ATTENTIONS
from mmela.engine import load_config
from mmela.engine.checks import run_checks
from mmela.errors import ConfigError, UserError
from mmela.plugins import build_plugin, parse_plugins

pytest.importorskip('hypothesis', reason='hypothesis is not installed')
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.long

#: Four properties; together ten thousand cases.
EXAMPLES = int(os.environ.get('MMELA_EXAMPLES', 2500))
many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

numbers = st.one_of(st.integers(-2, 70), st.floats(-2, 2), st.sampled_from([float('nan'), 1e9]))
plain = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5), st.just('B'))
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.sampled_from(['type', 'cfg', 'a']), inner, max_size=2),
    ),
    max_leaves=5,
)
LAYER_TYPES = [*(f'mmela.{name}' for name in ATTENTIONS), 'ContextBlock', 'NonLocal2d', 'mmela.Ela']
ARGUMENTS = ['variant', 'kernel_size', 'groups', 'num_groups', 'residual', 'reduction', 'ratio']
layers = st.builds(
    lambda kind, arguments: dict(arguments, type=kind),
    st.sampled_from(LAYER_TYPES),
    st.dictionaries(st.sampled_from([*ARGUMENTS, 'postfix', 'in_channels']), plain, max_size=2),
)
POSITIONS = ('after_conv1', 'after_conv2')
entries = st.fixed_dictionaries(
    {},
    optional=dict(
        cfg=st.one_of(layers, values),
        position=st.one_of(
            st.sampled_from(POSITIONS), st.lists(st.sampled_from(POSITIONS)), values
        ),
        stages=st.one_of(st.tuples(*[st.booleans()] * 3), values),
        share=values,
        stage=values,
    ),
)
plugin_lists = st.one_of(st.lists(st.one_of(entries, values), max_size=3), values)


@many
@given(plugin_lists, st.booleans(), st.booleans())
def test_a_list_of_plugins_is_read_or_refused(plugins, several, share):
    before = repr(plugins)
    try:
        parsed = parse_plugins(
            plugins,
            owner='mmela.Net',
            positions=POSITIONS,
            num_stages=3,
            allow_several=several,
            allow_share=share,
        )
    except ConfigError as error:
        assert 'plugins' in str(error) and 'mmela.Net' in str(error)
    else:
        assert all(plugin.position in POSITIONS for plugin in parsed)
    assert repr(plugins) == before


@many
@given(layers, st.sampled_from([1, 8, 12, 16, 24]))
def test_a_layer_keeps_the_shape_or_is_refused(cfg, channels):
    (plugin,) = parse_plugins(
        [dict(cfg=cfg, position='after_conv1')],
        owner='mmela.Net',
        positions=POSITIONS,
        num_stages=3,
    )
    try:
        _, layer = build_plugin(plugin, channels)
    except ConfigError as error:
        assert 'plugins[0] of mmela.Net' in str(error)
    else:
        x = torch.rand(1, channels, 4, 5)
        with torch.no_grad():
            assert layer.eval()(x).shape == x.shape


@many
@given(
    st.sampled_from(sorted({*ATTENTIONS} - {'Attention'})),
    st.integers(0, 3),
    st.sampled_from([8, 16, 32]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_an_attention_keeps_shape_and_type_of_any_map(name, batch, channels, height, width, dtype):
    layer = getattr(mmela.attentions, name)(channels).to(dtype).eval()
    x = torch.randn(batch, channels, height, width, dtype=dtype, requires_grad=True)
    y = layer(x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    y.sum().backward()
    assert x.grad.isfinite().all() and y.isfinite().all()


def paths_in(node, prefix=()):
    """The keys of all values of a config."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*prefix, key)
        if isinstance(value, (dict, list)):
            yield from paths_in(value, (*prefix, key))


@pytest.fixture(scope='module')
def tiny(tiny_seg, shapes_root):
    """A config as plain dicts, and the keys of what may be changed."""
    cfg = load_config(tiny_seg, [f'data_root={shapes_root}/'])
    content = cfg.to_dict()
    keys = ('model', 'train_dataloader', 'val_dataloader', 'val_evaluator', 'optim_wrapper')
    roots = {key: content[key] for key in (*keys, 'train_cfg', 'default_hooks') if key in content}
    return content, list(paths_in(roots)), cfg.filename


@many
@given(data=st.data())
def test_a_changed_config_passes_the_checks_or_is_refused_in_a_sentence(data, tiny, tmp_path):
    content, paths, filename = tiny
    content = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(paths))
        node = content
        try:
            for key in path[:-1]:
                node = node[key]
            if data.draw(st.booleans()):
                node[path[-1]] = data.draw(values)
            else:
                del node[path[-1]]
        except (KeyError, IndexError, TypeError):  # what a change before took away
            continue
    cfg = Config(content, filename=filename)
    cfg.work_dir = str(tmp_path)
    try:
        run_checks(cfg, ('train', 'val'), True)
    except UserError as error:
        assert str(error).strip()
    # A dict or a list in the place of another kind of value is MMEngine's to refuse.
    except (AttributeError, TypeError):
        pass
