"""The layer, against the table of the paper; errors for invalid arguments."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch

from mmela import ELA
from mmela.attentions.arguments import warn_once
from mmela.errors import ConfigError
from mmela.ops import ela_reference

#: Kernel size, conv groups and GN groups at C = 64, from the paper (section 3.4).
TABLE = {'T': (5, 64, 32), 'B': (7, 64, 16), 'S': (5, 8, 16), 'L': (7, 8, 16)}
#: Parameters per channel that follow: k * C / groups for the convolution and 2 for the norm.
PER_CHANNEL = {'T': 7, 'B': 9, 'S': 42, 'L': 58}


@pytest.fixture(autouse=True)
def forget_warnings():
    warn_once.cache_clear()


@pytest.mark.parametrize('variant', TABLE)
def test_variants_are_those_of_the_paper(variant):
    layer = ELA(64, variant)
    kernel_size, groups, num_groups = TABLE[variant]
    assert layer.conv.kernel_size == (kernel_size,)
    assert layer.conv.padding == (kernel_size // 2,)
    assert (layer.conv.groups, layer.gn.num_groups) == (groups, num_groups)


@pytest.mark.parametrize('variant', PER_CHANNEL)
@pytest.mark.parametrize('channels', [64, 256, 2048])
def test_parameters_grow_with_the_width_alone(variant, channels):
    layer = ELA(channels, variant)
    assert sum(p.numel() for p in layer.parameters()) == PER_CHANNEL[variant] * channels


def test_state_dict_has_the_documented_keys():
    keys = {'conv.weight', 'gn.weight', 'gn.bias'}
    assert set(ELA(16, num_groups=4).state_dict()) == keys
    assert set(ELA(16, num_groups=4, residual='scaled').state_dict()) == {*keys, 'scale'}


@pytest.mark.parametrize('residual', [False, True, 'scaled'])
def test_forward_is_the_formula_on_the_layers_weights(residual):
    layer = ELA(32, 'S', residual=residual).double()
    if residual == 'scaled':
        torch.nn.init.normal_(layer.scale)
    x = torch.randn(2, 32, 9, 11, dtype=torch.float64)
    scale = None if layer.scale is None else layer.scale
    expected = ela_reference(
        x, layer.conv.weight, layer.gn.weight, layer.gn.bias, scale,
        groups=4, num_groups=16, residual=bool(residual),
    )  # fmt: skip
    torch.testing.assert_close(layer(x), expected)


def test_scaled_is_exactly_the_identity_at_the_start():
    x = torch.randn(2, 64, 13, 17)
    assert torch.equal(ELA(64, residual='scaled')(x), x)


def test_scaled_leaves_the_identity_with_the_first_step():
    layer, x = ELA(64, residual='scaled'), torch.randn(2, 64, 8, 8)
    layer(x).square().sum().backward()
    assert layer.scale.grad.abs().min() > 0


def test_gate_is_what_the_map_is_multiplied_by():
    layer, x = ELA(64, 'T'), torch.randn(2, 64, 6, 10)
    y_h, y_w = layer.gate(x)
    assert y_h.shape == (2, 64, 6, 1) and y_w.shape == (2, 64, 1, 10)
    torch.testing.assert_close(layer(x), x * y_h * y_w)


def test_a_deep_copy_uses_its_own_weights():
    """The moving average of EMAHook is a deep copy."""
    layer, x = ELA(64), torch.randn(1, 64, 8, 8)
    before = layer(x)
    average = copy.deepcopy(layer)
    with torch.no_grad():
        average.gn.bias.fill_(50.0)  # both gates open
    torch.testing.assert_close(average(x), x)
    assert torch.equal(layer(x), before)


@pytest.mark.parametrize('convert', ['half', 'bfloat16'])
def test_half_precision_layers_keep_the_dtype_of_the_map(convert):
    layer = getattr(ELA(64), convert)()
    x = torch.randn(2, 64, 8, 8).to(layer.conv.weight.dtype)
    out = layer(x)
    assert out.dtype == x.dtype
    assert layer.gate(x)[0].dtype == torch.float32


def test_the_meta_device_works():
    """Networks are built there to count their parameters and FLOPs."""
    with torch.device('meta'):
        assert ELA(64)(torch.randn(2, 64, 8, 6)).shape == (2, 64, 8, 6)


def test_one_element_groups_train():
    layer = ELA(64, num_groups=64).train()
    x = torch.randn(1, 64, 1, 1, requires_grad=True)
    layer(x).sum().backward()
    assert torch.isfinite(x.grad).all() and not layer.conv.weight.grad.any()


@pytest.mark.parametrize(
    'channels, variant, groups, num_groups',
    [(144, 'T', 144, 24), (100, 'S', 10, 10), (48, 'T', 48, 24), (4, 'L', 1, 4), (7, 'B', 7, 7)],
)
def test_a_count_that_does_not_divide_falls_to_the_next_divisor(
    channels, variant, groups, num_groups
):
    with pytest.warns(UserWarning, match=f'does not divide {channels} channels'):
        layer = ELA(channels, variant)
    assert (layer.conv.groups, layer.gn.num_groups) == (groups, num_groups)
    assert layer(torch.randn(2, channels, 5, 6)).shape == (2, channels, 5, 6)


def test_the_fallback_is_warned_of_once():
    with pytest.warns(UserWarning, match='num_groups=24'):
        ELA(144, 'T')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        ELA(144, 'T')


def test_counts_may_be_of_any_integer_type():
    numbers = dict(in_channels=64, kernel_size=5, groups=8, num_groups=16)
    layer = ELA(**{name: np.int64(number) for name, number in numbers.items()})
    assert (layer.conv.groups, layer.gn.num_groups) == (8, 16)
    assert all(type(n) is int for n in (layer.in_channels, layer.conv.groups, layer.gn.num_groups))
    assert layer(torch.randn(1, 64, 3, 3)).shape == (1, 64, 3, 3)


#: The argument that an error names, and what it suggests.
INVALID = [
    (dict(in_channels=144, variant='T', strict=True), 'num_groups=24'),
    (dict(variant='X'), 'T, B, S, L'),
    (dict(variant='b'), "did you mean 'B'"),
    (dict(kernel_size=4), 'kernel_size.*odd'),
    (dict(kernel_size=-3), 'kernel_size'),
    (dict(in_channels=0), 'in_channels'),
    (dict(in_channels=np.float64(64)), 'in_channels'),
    (dict(groups=-2), 'groups'),
    (dict(groups=True), 'groups'),
    (dict(num_groups=2.5), 'num_groups'),
    (dict(num_groups=np.bool_(True)), 'num_groups'),
    (dict(residual='scale'), 'residual'),
    (dict(residual=1), 'residual'),
    (dict(fused='yes'), 'fused'),
]


@pytest.mark.parametrize('arguments, part', INVALID)
def test_invalid_arguments_are_refused_by_name(arguments, part):
    with pytest.raises(ConfigError, match=part):
        ELA(**{'in_channels': 64, **arguments})


@pytest.mark.parametrize('shape', [(64, 8, 8), (1, 32, 8, 8), (1, 64, 8)])
def test_a_map_of_another_shape_is_refused(shape):
    layer = ELA(64)
    for call in (layer, layer.gate):
        with pytest.raises(ConfigError, match=r'\(N, 64, H, W\)'):
            call(torch.randn(shape))


def test_kernels_that_cannot_run_are_refused(monkeypatch):
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    with pytest.raises(ConfigError, match="fused=True .*fused='auto'"):
        ELA(64, fused=True)(torch.randn(1, 64, 4, 4))
