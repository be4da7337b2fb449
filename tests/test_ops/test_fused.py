"""The fused kernels against the formula in float64; interpreted where there is no GPU."""

from __future__ import annotations

import pytest
import torch
from fused_layers import (
    DEVICE,
    PATHS,
    TOLERANCE,
    Layer,
    assert_is_the_formula,
    fused,
    make_inputs,
    outcome,
    variant,
)

from mmela.ops import ela_reference
from mmela.ops.fused import launch

SHAPES = [(1, 8, 1, 9), (1, 8, 6, 1), (1, 8, 1, 1), (2, 8, 7, 7), (1, 8, 33, 20)]


@pytest.mark.parametrize('path', PATHS)
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('shape', SHAPES)
def test_odd_shapes(use_path, shape, channels_last, path):
    use_path(path)
    layer = Layer(5, 4, 2)
    assert_is_the_formula(*make_inputs(shape, layer, channels_last=channels_last), layer)


@pytest.mark.parametrize('name', ['T', 'B', 'S', 'L'])
@pytest.mark.parametrize(
    'channels_last', [True, pytest.param(False, marks=pytest.mark.long)], ids=['last', 'first']
)
def test_variants(name, channels_last):
    layer = variant(name, 32)
    assert_is_the_formula(*make_inputs((1, 32, 5, 6), layer, channels_last=channels_last), layer)


@pytest.mark.parametrize('path', PATHS)
@pytest.mark.parametrize('residual, scaled', [(False, False), (True, False), (True, True)])
def test_residual_forms(use_path, residual, scaled, path):
    use_path(path)
    layer = Layer(5, 4, 2)
    inputs = make_inputs((1, 8, 9, 12), layer, scaled=scaled)
    assert_is_the_formula(*inputs, layer, residual=residual)


@pytest.mark.parametrize('path', PATHS)
@pytest.mark.parametrize('dtype', TOLERANCE)
def test_dtypes(use_path, dtype, path):
    use_path(path)
    layer = Layer(7, 2, 2)
    assert_is_the_formula(*make_inputs((1, 8, 7, 24), layer, dtype), layer)


@pytest.mark.parametrize('path', PATHS)
@pytest.mark.parametrize(
    'channels, layer',
    {
        8: Layer(3, 8, 8),  # a unit of one channel
        12: Layer(7, 3, 4),  # units of 12: three groups of the norm, four of the convolution
        24: Layer(5, 3, 4),  # units of 24: four groups of the norm
        10: Layer(5, 1, 2),  # every channel meets every other
        16: Layer(1, 16, 1),  # one group of the norm
    }.items(),
)
def test_units_of_any_size(use_path, channels, layer, path):
    use_path(path)
    assert_is_the_formula(*make_inputs((1, channels, 6, 5), layer), layer)


@pytest.mark.parametrize('channels_last', [False, True])
def test_strips_launched_between(use_path, monkeypatch, channels_last):
    """Many programs to a unit: the strips have a launch of their own."""
    use_path('split')
    monkeypatch.setattr('mmela.ops.fused.plan.REPEATED_STRIPS', 1)
    launch._prepare_forward.cache_clear()
    launch._prepare_backward.cache_clear()
    layer = Layer(5, 8, 2)
    inputs, grad = make_inputs((1, 8, 40, 19), layer, channels_last=channels_last)
    shape = launch.shape_of(inputs[0], inputs[1], layer.groups, layer.num_groups)
    assert len(launch._prepare_forward(shape, False, 'split').launches) == 3
    assert_is_the_formula(inputs, grad, layer)


@pytest.mark.parametrize('path', PATHS)
def test_groups_longer_than_a_tile(use_path, path):
    use_path(path)
    layer = Layer(3, 8, 1)
    shape = (1, 8, 2, 1200)
    assert launch._prepare_forward(
        launch.Shape(*shape, 4, False, *layer, 2), False, path
    ).launches[-1].constants['BLOCK_STRIP'] < 1200  # fmt: skip
    assert_is_the_formula(*make_inputs(shape, layer), layer)


def no_worse_than_the_formula(inputs, grad, layer):
    """Where the problem itself loses digits: at most twice the error of the formula in float32."""
    found = outcome(fused, inputs, grad, **layer.options)
    single = outcome(ela_reference, inputs, grad, **layer.options)
    exact = outcome(ela_reference, [t.double() for t in inputs], grad.double(), **layer.options)
    for ours, formula, truth in zip(found, single, exact, strict=True):
        assert (ours - truth).norm() <= 2 * (formula - truth).norm() + 1e-5 * truth.norm()


def test_groups_of_two_elements():
    """Normalised they are -1 and 1 whatever they are, and hardly anything passes backward."""
    layer = Layer(5, 4, 4)
    no_worse_than_the_formula(*make_inputs((2, 8, 1, 9), layer), layer)


def test_a_mean_far_from_zero_costs_no_more_digits_than_the_formula():
    layer = Layer(3, 8, 1)  # longer than a tile: the variance is taken about a first guess
    inputs, grad = make_inputs((1, 8, 2, 1200), layer)
    inputs[0] += 30
    no_worse_than_the_formula(inputs, grad, layer)


LARGE = [
    (1, 8, 100, 136),
    pytest.param((2, 256, 100, 136), marks=pytest.mark.long),
    pytest.param((1, 16, 200, 304), marks=pytest.mark.long),
    pytest.param((1, 2048, 7, 7), marks=pytest.mark.long),
    pytest.param((1, 2048, 20, 20), marks=pytest.mark.long),
]


@pytest.mark.parametrize('shape', LARGE)
def test_large_maps(shape):
    layer = variant('S', shape[1]) if shape[1] > 16 else Layer(7, 8, 2)
    assert_is_the_formula(*make_inputs(shape, layer), layer)


@pytest.mark.long
@pytest.mark.parametrize('name, dtype', zip('TBSL', [*TOLERANCE, torch.float32], strict=True))
@pytest.mark.parametrize('channels', [8, 144, 512])
@pytest.mark.parametrize('channels_last', [False, True])
def test_widths(name, dtype, channels, channels_last):
    layer = variant(name, channels)
    inputs = make_inputs((1, channels, 14, 10), layer, dtype, channels_last=channels_last)
    assert_is_the_formula(*inputs, layer)


@pytest.mark.skipif(DEVICE == 'cpu', reason='needs 20 GB on a GPU')
@pytest.mark.long
def test_tensors_of_more_than_two_to_the_31_elements():
    layer = variant('T', 64)
    inputs, _ = make_inputs((1, 64, 512, 512), layer, torch.float16)
    x, *parameters = inputs
    many = x.expand(130, -1, -1, -1).contiguous()
    assert many.numel() > 2**31
    out = fused(many, *parameters, **layer.options)
    assert torch.equal(out[-1:], fused(x, *parameters, **layer.options))


def test_one_element_groups_normalise_to_zero():
    """No other layer here has gradients that are zero by construction, and so no relative error."""
    layer = Layer(5, 4, 4)
    inputs, grad = make_inputs((1, 4, 1, 1), layer)
    out, grad_x, grad_weight, *_ = outcome(fused, inputs, grad, **layer.options)
    gate = torch.sigmoid(inputs[3]).view(1, 4, 1, 1)
    torch.testing.assert_close(out, inputs[0] * gate * gate)
    torch.testing.assert_close(grad_x, grad * gate * gate)
    assert not grad_weight.any()


def test_nan_stays_visible():
    layer = Layer(5, 8, 2)
    (x, *parameters), _ = make_inputs((2, 8, 6, 8), layer)
    x[1, 2, 3, 4] = float('nan')
    bad = torch.isnan(fused(x, *parameters, **layer.options))
    assert bad[1, :4].all() and not bad[0].any() and not bad[1, 4:].any()  # its group, no other


@pytest.mark.parametrize('path', PATHS)
def test_results_are_the_same_to_the_bit(use_path, path):
    use_path(path)
    layer = Layer(5, 4, 2)
    shape = (2, 8, 21, 13) if DEVICE == 'cpu' else (16, 8, 321, 213)
    inputs, grad = make_inputs(shape, layer, torch.float16, scaled=True)
    first = outcome(fused, inputs, grad, **layer.options)
    for _ in range(1 if DEVICE == 'cpu' else 20):
        again = outcome(fused, inputs, grad, **layer.options)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
