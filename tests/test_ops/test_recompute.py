"""Outputs that are computed again in backward: bit-identical gradients, less memory."""

from __future__ import annotations

import gc
import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from benchmarks.memory import measure_memory
from mmela import ELA
from mmela.ops import recompute_outputs

CPU = torch.device('cpu')


class Block(nn.Module):
    """The attention where a bottleneck has it, between convolutions, with in-place neighbours."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.attention = ELA(channels, 'T', residual='scaled')
        nn.init.normal_(self.attention.scale)
        self.conv2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        out = torch.relu_(self.norm(self.conv1(x)))
        out = self.conv2(self.attention(out))
        out += x
        return torch.relu_(out)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(Block(), Block(), Block())


def gradients(network, x, context, forward=None):
    parameters = list(network.parameters())
    with context:
        loss = (forward or network)(x).square().mean()
    return torch.autograd.grad(loss, parameters)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('autocast', [False, True])
def test_gradients_are_the_same_to_the_bit(network, layout, autocast):
    x = torch.randn(2, 16, 20, 12).to(memory_format=layout)
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        expected = gradients(network, x, nullcontext())
        found = gradients(network, x, recompute_outputs())
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_a_step_takes_one_map_less_for_each_layer(network):
    x = torch.randn(4, 16, 64, 64)
    peaks = [
        measure_memory(lambda context=context: gradients(network, x, context()), CPU).peak
        for context in (nullcontext, recompute_outputs)
    ]
    saved = (peaks[0] - peaks[1]) / (4 * x.numel())
    assert 2.9 < saved < 3.1


def test_it_ends_with_its_block(network):
    x = torch.randn(4, 16, 64, 64)
    gradients(network, x, recompute_outputs())
    with pytest.raises(ZeroDivisionError), recompute_outputs():
        raise ZeroDivisionError
    before = measure_memory(lambda: gradients(network, x, nullcontext()), CPU).peak
    with recompute_outputs():
        pass
    assert measure_memory(lambda: gradients(network, x, nullcontext()), CPU).peak == before


def test_an_output_that_was_changed_in_place_is_kept_as_it_is():
    torch.manual_seed(0)
    attention, conv = ELA(16), nn.Conv2d(16, 16, 1)
    x = torch.randn(2, 16, 9, 7)

    def forward(x):
        out = attention(x)
        out += 1
        return conv(out)

    both = nn.ModuleList([attention, conv])
    expected = gradients(both, x, nullcontext(), forward)
    for ours, theirs in zip(
        gradients(both, x, recompute_outputs(), forward), expected, strict=True
    ):
        assert torch.equal(ours, theirs)


def test_a_map_that_is_changed_after_the_layer_is_an_error_and_no_wrong_gradient():
    attention, conv = ELA(16), nn.Conv2d(16, 16, 1)
    x = torch.randn(2, 16, 9, 7)
    with recompute_outputs():
        out = conv(attention(x))
        x += 1
    with pytest.raises(RuntimeError, match='changed in place'):
        out.sum().backward()


def test_a_parameter_that_is_changed_after_the_layer_is_an_error_too():
    attention, conv = ELA(16, residual='scaled'), nn.Conv2d(16, 16, 1)
    x = torch.randn(2, 16, 9, 7)
    with recompute_outputs():
        out = conv(attention(x))
    with torch.no_grad():
        attention.scale.add_(1)
    with pytest.raises(RuntimeError, match='changed in place'):
        torch.autograd.grad(out.sum(), conv.weight)


def test_a_graph_without_a_backward_is_let_go():
    # ReLU keeps its own output, which leads back to it.
    network = nn.Sequential(nn.Conv2d(16, 16, 1), nn.ReLU(), ELA(16), nn.Conv2d(16, 16, 1))
    x = torch.randn(2, 16, 9, 7, requires_grad=True)
    inside = []
    network[1].register_forward_hook(lambda module, args, out: inside.append(weakref.ref(out)))
    with recompute_outputs():
        out = network(x)
    del out
    gc.collect()
    assert inside[0]() is None


def test_activation_checkpointing_goes_before(network):
    x = torch.randn(2, 16, 20, 12)

    def checkpointed(x):
        return checkpoint(network, x, use_reentrant=False)

    expected = gradients(network, x, nullcontext())
    found = gradients(network, x, recompute_outputs(), checkpointed)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_penalty_on_the_gradient_can_be_trained_under_it():
    torch.manual_seed(0)
    attention, conv = ELA(16).double(), nn.Conv2d(16, 16, 1).double()
    both = nn.ModuleList([attention, conv])
    x = torch.randn(2, 16, 9, 7, dtype=torch.float64)

    def penalty(context):
        with context:
            out = conv(attention(x)).square().sum()
            grads = torch.autograd.grad(out, list(both.parameters()), create_graph=True)
            return torch.autograd.grad(sum(g.square().sum() for g in grads), conv.weight)[0]

    torch.testing.assert_close(penalty(recompute_outputs()), penalty(nullcontext()))
