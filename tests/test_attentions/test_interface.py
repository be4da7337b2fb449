"""What all five attentions have in common: maps, dtypes, residual forms, tracing, mistakes."""

from __future__ import annotations

import copy

import pytest
import torch

from mmela.attentions import CBAM, ECA, ELA, SE, CoordAtt
from mmela.errors import ConfigError

GN = dict(type='GN', num_groups=4)
#: Name: how it is built, and the shapes of its gates for a map of (2, 32, 9, 7).
LAYERS = {
    'SE': (SE, {}, [(2, 32, 1, 1)]),
    'ECA': (ECA, {}, [(2, 32, 1, 1)]),
    'CBAM': (CBAM, {}, [(2, 32, 1, 1), (2, 1, 9, 7)]),
    'CBAM, GN': (CBAM, dict(norm_cfg=dict(type='GN', num_groups=1)), [(2, 32, 1, 1), (2, 1, 9, 7)]),
    'CoordAtt': (CoordAtt, {}, [(2, 32, 9, 1), (2, 32, 1, 7)]),
    'CoordAtt, apart': (CoordAtt, dict(joint=False), [(2, 32, 9, 1), (2, 32, 1, 7)]),
    'CoordAtt, GN': (CoordAtt, dict(reduction=None, norm_cfg=GN), [(2, 32, 9, 1), (2, 32, 1, 7)]),
    'ELA': (ELA, dict(variant='S'), [(2, 32, 9, 1), (2, 32, 1, 7)]),
}
every_layer = pytest.mark.parametrize('name', LAYERS)


def build(name, channels=32, **kwargs):
    torch.manual_seed(0)
    cls, arguments, _ = LAYERS[name]
    return cls(channels, **arguments, **kwargs)


def a_map(*shape, **kwargs):
    torch.manual_seed(1)
    return torch.randn(*shape, **kwargs)


@every_layer
def test_gates_are_what_the_map_is_multiplied_by(name):
    layer, x = build(name), a_map(2, 32, 9, 7)
    gates = layer.gate(x)
    assert [tuple(gate.shape) for gate in gates] == LAYERS[name][2]
    expected = x
    for gate in gates:
        assert 0 < gate.min() and gate.max() < 1
        expected = expected * gate
    torch.testing.assert_close(layer(x), expected)


@every_layer
def test_residual_adds_the_map_and_scaled_weighs_what_is_added(name):
    x = a_map(2, 32, 9, 7, dtype=torch.float64)
    plain, added, scaled = (build(name, residual=r).double() for r in (False, True, 'scaled'))
    assert set(scaled.state_dict()) == {*plain.state_dict(), 'scale'}
    assert set(added.state_dict()) == set(plain.state_dict())
    attended = plain(x)
    torch.testing.assert_close(added(x), x + attended)
    torch.nn.init.normal_(scaled.scale)
    torch.testing.assert_close(scaled(x), x + scaled.scale.view(1, 32, 1, 1) * attended)


@every_layer
def test_scaled_is_the_identity_at_the_start_and_leaves_it_with_the_first_step(name):
    layer, x = build(name, residual='scaled'), a_map(2, 32, 9, 7)
    layer.init_weights()
    out = layer(x)
    assert torch.equal(out, x)
    out.square().sum().backward()
    assert layer.scale.grad.abs().min() > 0


@every_layer
@pytest.mark.parametrize('train', [True, False])
def test_gradients_are_those_of_finite_differences(name, train):
    layer = build(name, channels=8, residual='scaled').double().train(train)
    torch.nn.init.normal_(layer.scale)
    x = a_map(2, 8, 3, 4, dtype=torch.float64, requires_grad=True)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def function(x, *parameters):
        buffers = {name: buffer.clone() for name, buffer in layer.named_buffers()}  # not updated
        state = buffers | dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(layer, state, (x,))

    assert torch.autograd.gradcheck(function, (x, *parameters))


@every_layer
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_layers_compute_their_gates_in_float32(name, dtype):
    layer = build(name).to(dtype)
    x = a_map(2, 32, 9, 7).to(dtype)
    gates, exact = layer.gate(x), copy.deepcopy(layer).double().gate(x.double())
    # The map that CBAM refines before its second gate is of the map's own dtype.
    tolerance = 1e-2 if name.startswith('CBAM') else 1e-6
    for gate, expected in zip(gates, exact, strict=True):
        assert gate.dtype == torch.float32 and expected.dtype == torch.float64
        torch.testing.assert_close(gate.double(), expected, atol=tolerance, rtol=tolerance)
    assert layer(x).dtype == dtype


@every_layer
def test_autocast_changes_nothing(name):
    layer = build(name)
    for x in (a_map(2, 32, 9, 7), a_map(2, 32, 9, 7).bfloat16()):
        expected, gates = layer(x), layer.gate(x)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert torch.equal(layer(x), expected) and expected.dtype == x.dtype
            assert all(map(torch.equal, layer.gate(x), gates))


@every_layer
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_the_memory_format_stays(name, memory_format):
    x = a_map(2, 32, 9, 7).to(memory_format=memory_format)
    for residual in (False, True, 'scaled'):
        layer = build(name, residual=residual)
        out = layer(x)
        assert out.is_contiguous(memory_format=memory_format)
        torch.testing.assert_close(out, layer(x.contiguous()))


@every_layer
@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('shape', [(1, 32, 1, 1), (2, 32, 1, 1), (1, 32, 1, 5), (1, 32, 5, 1)])
def test_the_smallest_maps_train_with_finite_gradients(name, train, shape):
    layer, x = build(name).train(train), a_map(*shape).requires_grad_()
    layer(x).square().sum().backward()
    for tensor in (x, *layer.parameters()):
        assert torch.isfinite(tensor.grad).all()


@every_layer
def test_a_deep_copy_uses_its_own_weights(name):
    """The moving average of EMAHook is a deep copy."""
    layer, x = build(name), a_map(2, 32, 9, 7)
    before = layer(x)
    average = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in average.parameters():
            parameter.add_(1)
    assert not torch.allclose(average(x), before, rtol=0.01)
    assert torch.equal(layer(x), before)


@every_layer
@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning', 'ignore::DeprecationWarning')
def test_a_trace_serves_maps_of_other_sizes(name):
    """What the ONNX exporter and MMEngine's FLOP counter see."""
    layer = build(name).eval()
    with torch.no_grad():
        traced = torch.jit.trace(layer, a_map(2, 32, 9, 7))
        for shape in ((2, 32, 9, 7), (3, 32, 4, 12)):
            torch.testing.assert_close(traced(a_map(*shape)), layer(a_map(*shape)))


@every_layer
def test_torch_export_takes_it_whole(name):
    layer, x = build(name).eval(), a_map(2, 32, 9, 7)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))


@every_layer
def test_the_meta_device_carries_it(name):
    """Networks are built there to count their parameters."""
    with torch.device('meta'):
        layer = LAYERS[name][0](32, **LAYERS[name][1])
        assert layer.eval()(torch.empty(2, 32, 9, 7)).shape == (2, 32, 9, 7)


MISTAKES = [
    ('in_channels: expected', SE, dict(in_channels=0)),
    ('reduction: expected', SE, dict(reduction=0)),
    ('reduction: expected', CBAM, dict(reduction=1.5)),
    ('reduction: expected', CoordAtt, dict(reduction=-1)),
    ('bias: expected', SE, dict(bias=1)),
    ('joint: expected', CoordAtt, dict(joint='no')),
    ('bias: expected', CoordAtt, dict(bias=None)),
    ('kernel_size: expected', ECA, dict(kernel_size=4)),
    ('kernel_size: expected', CBAM, dict(kernel_size=6)),
    ('kernel_size: expected', ECA, dict(kernel_size=0)),
    ('kernel_size=3 on joined strips .* give joint=False', CoordAtt, dict(kernel_size=3)),
    ('group_size: expected', CoordAtt, dict(group_size=0)),
    (r"CBAM\(32\): norm_cfg must be a dict with the norm's type", CBAM, dict(norm_cfg='BN')),
    (r"norm_cfg must be .* and {'eps': 1} was given", CoordAtt, dict(norm_cfg=dict(eps=1))),
    ("builds no norm .*'BN', 'SyncBN' and 'GN'", CoordAtt, dict(norm_cfg=dict(type='BNN'))),
    ('builds no norm .*unexpected keyword', CBAM, dict(norm_cfg=dict(type='BN', epsilon=1))),
    ('builds no norm', CoordAtt, dict(norm_cfg=dict(type='GN'))),
    ('num_groups of norm_cfg', CoordAtt, dict(norm_cfg=dict(type='GN', num_groups=0))),
    ('builds a BatchNorm1d, which takes no map', CoordAtt, dict(norm_cfg=dict(type='BN1d'))),
    ('builds a LayerNorm, which takes no map', CBAM, dict(norm_cfg=dict(type='LN'))),
    *[("residual must be False, True or 'scaled'", cls, dict(residual=1)) for cls in (SE, ECA)],
    *[("residual must be False, True or 'scaled'", cls, dict(residual='scale'))
      for cls in (CBAM, CoordAtt, ELA)],
]  # fmt: skip


@pytest.mark.parametrize('sentence, cls, arguments', MISTAKES)
def test_wrong_arguments_are_answered_with_a_sentence(sentence, cls, arguments):
    with pytest.raises(ConfigError, match=sentence):
        cls(**{'in_channels': 32, **arguments})


@every_layer
@pytest.mark.parametrize('shape', [(32, 8, 8), (1, 16, 8, 8), (1, 32, 8)])
def test_a_map_of_another_shape_is_refused(name, shape):
    layer = build(name)
    for call in (layer, layer.gate):
        with pytest.raises(ConfigError, match=r'\(32\) takes a map of shape \(N, 32, H, W\)'):
            call(torch.randn(shape))
