"""The first use of a device runs the kernels once, whatever is going on around it."""

from __future__ import annotations

import threading

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from mmela import ELA
from mmela.ops import ela_lean
from mmela.ops.fused import availability

CPU = torch.device('cpu')


@pytest.fixture
def probes(monkeypatch):
    """Counts probes; each differentiates something, as the real one does, in milliseconds."""
    seen = []

    def differentiate(device):
        x = torch.rand(3, 3, requires_grad=True)
        (grad,) = torch.autograd.grad((x.sin() @ x).sigmoid().sum(), x)
        assert x.dtype == grad.dtype == torch.float32 and grad.device == device
        seen.append(threading.get_ident())
        return 0.0

    monkeypatch.setattr(availability, 'deviation_from_formula', differentiate)
    monkeypatch.setattr(availability, '_probed', {})
    return seen


@pytest.fixture
def layer(monkeypatch):
    """A layer that asks for the probe at its first map, and then takes the lean version."""
    layer = ELA(16, num_groups=4)

    def probing(x, *parameters, fused, **options):
        assert availability._probe_fault(x.device) is None
        return ela_lean(x, *parameters, **options)

    monkeypatch.setattr('mmela.attentions.ela.ela', probing)
    return layer


def test_activation_checkpointing_does_not_see_it(probes, layer):
    x = torch.rand(2, 16, 6, 5, requires_grad=True)
    (expected,) = torch.autograd.grad(layer(x).square().sum(), x)
    availability._probed.clear()
    out = checkpoint(layer, x, use_reentrant=False)
    (found,) = torch.autograd.grad(out.square().sum(), x)
    assert len(probes) == 2
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    'context',
    [
        torch.inference_mode,
        torch.no_grad,
        lambda: torch.autocast('cpu', torch.bfloat16),
        lambda: torch.device('meta'),
        lambda: torch.autograd.graph.saved_tensors_hooks(pytest.fail, pytest.fail),
    ],
    ids=['inference', 'no_grad', 'autocast', 'default device', 'hooks'],
)
def test_no_mode_of_the_first_map_reaches_it(probes, context):
    with context():
        assert availability._probe_fault(CPU) is None
    assert len(probes) == 1 and probes[0] != threading.get_ident()


def test_threads_that_come_together_share_one(probes):
    threads = [threading.Thread(target=availability._probe_fault, args=(CPU,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(probes) == 1
