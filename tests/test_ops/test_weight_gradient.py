"""The programs that share a unit of channels also share its part of the weight's gradient."""

from __future__ import annotations

import pytest
import torch

from mmela.ops import ela, ela_reference
from mmela.ops.fused import availability

pytest.importorskip('triton', reason='the fused kernels need Triton')
if availability.toolchain_fault():
    pytest.skip(availability.toolchain_fault(), allow_module_level=True)

from mmela.ops.fused import launch, plan  # noqa: E402

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
SHAPE, OPTIONS = (1, 24, 40, 9), dict(groups=2, num_groups=2)


@pytest.fixture(params=[2, 3])
def splits(request, monkeypatch):
    """Splits each unit over some programs, and its weight's gradient into 12 tiles of a channel."""
    monkeypatch.setattr(launch, 'FORCED_PATH', 'split')
    monkeypatch.setattr(plan, 'WEIGHT_ELEMENTS', 1)
    monkeypatch.setattr(launch, 'processors', lambda device: request.param)
    monkeypatch.setattr(plan, 'PROGRAMS_PER_SM', 2)
    prepare = launch._prepare_backward
    prepare.cache_clear()
    yield request.param
    prepare.cache_clear()


def test_it_is_whole_whoever_computes_which_tile(splits):
    shapes = (SHAPE, (24, 12, 5), (24,), (24,), SHAPE)
    *inputs, grad = (torch.randn(s, dtype=torch.float64, device=DEVICE) for s in shapes)
    launched = launch._prepare_backward(
        launch.Shape(*SHAPE, 4, False, 5, *OPTIONS.values(), splits), False, True, 'split'
    ).launches[1]
    tiles = launched.constants['CHANNELS'] // launched.constants['BLOCK_ROWS']
    assert launched.sizes[3] == splits and tiles > splits

    exact = [t.requires_grad_() for t in inputs]
    leaves = [t.detach().float().requires_grad_() for t in inputs]
    (expected,) = torch.autograd.grad(ela_reference(*exact, **OPTIONS), exact[1], grad)
    (found,) = torch.autograd.grad(ela(*leaves, **OPTIONS, fused=True), leaves[1], grad.float())
    assert (found.double() - expected).norm() < 1e-5 * expected.norm()
