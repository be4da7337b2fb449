"""The kernels in a network that two processes train, each on images of its own."""

from __future__ import annotations

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from mmela import ELA
from mmela.engine.runner import disconnect_at_end

pytestmark = [pytest.mark.long, pytest.mark.core]  # two processes import everything
pytest.importorskip('triton', minversion='3.2', reason='the kernels need Triton')


def make_network(fused):
    torch.manual_seed(0)
    attention = ELA(8, groups=2, num_groups=2, residual='scaled', fused=fused)
    nn.init.normal_(attention.scale)
    return nn.Sequential(nn.Conv2d(3, 8, 3), attention, nn.Conv2d(8, 4, 1))


def loss_of(network, rank):
    generator = torch.Generator().manual_seed(rank)
    return network(torch.randn(2, 3, 8, 7, generator=generator)).square().mean()


def train_one(rank, folder):
    """The program of each process."""
    store = f'file://{folder}/store'
    with disconnect_at_end():
        distributed.init_process_group('gloo', init_method=store, rank=rank, world_size=2)
        network = make_network(fused=True)
        parallel = DistributedDataParallel(network)
        loss_of(parallel, rank).backward()
        torch.save([p.grad for p in network.parameters()], folder / f'{rank}.pth')


def test_gradients_are_the_mean_of_those_of_each_process_alone(tmp_path, monkeypatch):
    monkeypatch.setenv('TRITON_INTERPRET', '1')  # on the CPU also where there is a GPU
    multiprocessing.spawn(train_one, (tmp_path,), nprocs=2, daemon=True)

    alone = []
    for rank in range(2):
        network = make_network(fused=False)
        alone.append(torch.autograd.grad(loss_of(network, rank), list(network.parameters())))
    for rank in range(2):
        together = torch.load(tmp_path / f'{rank}.pth')
        for found, one, other in zip(together, *alone, strict=True):
            assert not torch.allclose(one, other, rtol=0.1)
            torch.testing.assert_close(found, (one + other) / 2, rtol=1e-4, atol=1e-6)
