"""When the fused kernels are taken, and what is said where they cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from fused_layers import DEVICE, Layer, fused, make_inputs

from mmela import ELA
from mmela.errors import ConfigError
from mmela.ops import ela
from mmela.ops.fused import availability, launch, unavailable
from mmela.ops.fused.library import ela_operator


def test_maps_on_the_cpu_are_left_to_the_lean_version(monkeypatch):
    layer = ELA(16, num_groups=4, fused=True).to(DEVICE)
    layer(torch.randn(1, 16, 4, 4, device=DEVICE))  # the probe is over before kernels are refused

    def refuse(*arguments):
        raise AssertionError('a kernel was launched')

    monkeypatch.setattr(launch, 'forward', refuse)
    ELA(16, num_groups=4)(torch.randn(1, 16, 4, 4))
    with pytest.raises(AssertionError):
        layer(torch.randn(1, 16, 4, 4, device=DEVICE))


REASONS = {
    'the map is float64': dict(dtype=torch.float64),
    'the map is empty': dict(shape=(0, 8, 4, 4)),
    'wider than': dict(shape=(1, 8, 1, 10000)),
    'the kernel size is above': dict(kernel_size=65),
}


@pytest.mark.parametrize('reason', REASONS)
def test_a_reason_is_given_where_they_cannot_be_had(reason):
    wrong = {'dtype': torch.float32, 'shape': (1, 8, 4, 4), 'kernel_size': 3, **REASONS[reason]}
    layer = Layer(wrong['kernel_size'], 4, 4)
    inputs, _ = make_inputs(wrong['shape'], layer, wrong['dtype'])
    with pytest.raises(ConfigError, match=reason):
        fused(*inputs, **layer.options)
    assert ela(*inputs, **layer.options).shape == wrong['shape']


def test_the_cpu_is_a_reason_without_the_interpreter(monkeypatch):
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    x, weight = torch.randn(1, 8, 4, 4), torch.randn(8, 2, 3)
    assert 'the map is on cpu' in unavailable(x, weight, 4, 4, probe=False)


def test_the_first_use_of_a_device_compares_the_kernels_with_the_formula(monkeypatch):
    device = torch.device(DEVICE)
    right = launch.backward

    def wrong(*arguments):
        grad_x, *others = right(*arguments)
        return grad_x * 1.01, *others

    monkeypatch.setattr(launch, 'backward', wrong)
    monkeypatch.setattr(availability, '_probed', {})
    with pytest.warns(UserWarning, match='kernels are not used: on .* off the formula by 0.0'):
        assert 'off the formula' in availability._probe_fault(device)
    # Said once, and known to a compiler that must not see a probe.
    assert 'off the formula' in availability._probe_fault(device)
    assert 'off the formula' in availability.known_probe_fault(device.type, device.index)


@pytest.mark.parametrize(
    'context',
    [
        torch.inference_mode,
        pytest.param(torch.no_grad, marks=pytest.mark.long),
        pytest.param(lambda: torch.device('meta'), marks=pytest.mark.long),
    ],
)
def test_the_first_use_may_come_in_any_mode(monkeypatch, context):
    measure, deviations = availability.deviation_from_formula, []

    def measure_and_note(device):
        deviations.append(measure(device))
        return deviations[0]

    monkeypatch.setattr(availability, 'deviation_from_formula', measure_and_note)
    monkeypatch.setattr(availability, '_probed', {})
    with context():
        assert availability._probe_fault(torch.device(DEVICE)) is None
    assert len(deviations) == 1 and deviations[0] < 1e-5
    assert launch.FORCED_PATH is None


def test_a_device_without_room_for_the_probe_has_no_fault(monkeypatch):
    def run_out(device):
        raise torch.cuda.OutOfMemoryError('no room')

    monkeypatch.setattr(availability, '_probed', {})
    monkeypatch.setattr(availability, 'deviation_from_formula', run_out)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        availability._probe_fault(torch.device(DEVICE))
    assert not availability._probed


def test_a_missing_triton_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, 'triton', None)
    assert 'Triton cannot be imported' in availability.toolchain_fault()


def test_an_old_gpu_is_a_reason(monkeypatch):
    monkeypatch.setattr(torch.version, 'cuda', '12.4')
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda index: (7, 5))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda index: 'Tesla T4')
    assert 'Tesla T4 has 7.5' in availability.device_fault('cuda', 0)


def test_nobody_pays_for_triton_who_does_not_use_it():
    program = 'import sys, mmela, mmela.ops; sys.exit("triton" in sys.modules)'
    environment = {k: v for k, v in os.environ.items() if k != 'TRITON_INTERPRET'}
    assert subprocess.run([sys.executable, '-c', program], env=environment).returncode == 0


@pytest.mark.parametrize('function', [fused, ela_operator])
@pytest.mark.parametrize(
    'name, index, size',
    [
        ('conv_weight', 1, (8, 4, 5)),
        ('conv_weight', 1, (7, 2, 5)),
        ('gn_weight', 2, (7,)),
        ('gn_bias', 3, (9,)),
        ('scale', 4, (1,)),
    ],
)
def test_parameters_of_another_size_are_refused(function, name, index, size):
    layer = Layer(5, 4, 2)
    inputs, _ = make_inputs((1, 8, 6, 8), layer, scaled=True)
    inputs[index] = torch.zeros(size, device=DEVICE)
    with pytest.raises(ConfigError, match=f'{name} must have the shape') as error:
        function(*inputs, **layer.options)
    assert str(size) in str(error.value)


@pytest.mark.parametrize('name', ['groups', 'num_groups'])
@pytest.mark.parametrize('number', [0, 3, 16, -2])
def test_groups_that_do_not_divide_the_channels_are_refused(name, number):
    layer = Layer(5, 4, 2)
    inputs, _ = make_inputs((1, 8, 6, 8), layer)
    for function in (fused, ela_operator):
        with pytest.raises(ConfigError, match='do not divide the channels'):
            function(*inputs, **dict(layer.options, **{name: number}))
