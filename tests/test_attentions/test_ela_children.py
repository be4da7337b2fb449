"""ELA with children that are watched, wrapped, replaced, parametrized or sharded."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.utils import parametrizations

from mmela import ELA
from mmela.engine.runner import disconnect_at_end
from mmela.ops import ela_reference

FORMS = pytest.mark.parametrize('form', [False, 'scaled'])


def make_layer(form='scaled', **options):
    torch.manual_seed(0)
    layer = ELA(16, 'S', num_groups=4, residual=form, **options)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def formula(layer, x, weight=None):
    return ela_reference(
        x, layer.conv.weight if weight is None else weight, layer.gn.weight, layer.gn.bias,
        layer.scale, groups=2, num_groups=4, residual=bool(layer.residual),
    )  # fmt: skip


@pytest.mark.parametrize('child', ['conv', 'gn'])
@pytest.mark.parametrize(
    'register',
    ['register_forward_hook', 'register_forward_pre_hook', 'register_full_backward_hook'],
)
def test_hooks_on_children_fire(child, register):
    """Once for each axis, in training and in `gate`; without them the layer is what it was."""
    layer, x = make_layer(), torch.randn(2, 16, 6, 5, requires_grad=True)
    expected = layer(x)
    calls = []
    handle = getattr(getattr(layer, child), register)(lambda *args: calls.append(args[0]))
    out = layer(x)
    torch.testing.assert_close(out, expected)
    out.sum().backward()
    assert calls == [getattr(layer, child)] * 2
    torch.testing.assert_close(x * layer.gate(x)[0] * layer.gate(x)[1] * layer.scale.view(-1, 1, 1)
                               + x, expected)  # fmt: skip
    handle.remove()
    assert torch.equal(layer(x), expected)


def test_a_hook_that_changes_the_output_is_heard():
    layer, x = make_layer(), torch.randn(2, 16, 6, 5)
    layer.gn.register_forward_hook(lambda module, args, out: out + 50)  # both gates open
    torch.testing.assert_close(layer(x), x + layer.scale.view(-1, 1, 1) * x)


class LoRA(nn.Module):
    """A low-rank adapter around a convolution, as peft makes them."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.randn(3, base.weight[0].numel()))
        self.up = nn.Parameter(torch.randn(base.weight.size(0), 3))

    @property
    def weight(self):
        return self.base.weight

    def merged(self):
        return self.weight + (self.up @ self.down).view_as(self.weight)

    def forward(self, z):
        return nn.functional.conv1d(z, self.merged(), padding=2, groups=2)


@FORMS
def test_an_adapter_around_the_convolution_is_used(form):
    layer, x = make_layer(form), torch.randn(2, 16, 6, 5)
    layer.conv = LoRA(layer.conv)
    layer.conv.base.requires_grad_(False)
    weight = layer.conv.merged()
    expected = formula(layer, x, weight)
    torch.testing.assert_close(layer(x), expected)
    inputs = [layer.conv.up, layer.conv.down, layer.gn.weight]
    for ours, theirs in zip(
        torch.autograd.grad(layer(x).sum(), inputs),
        torch.autograd.grad(expected.sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('change', ['forward', 'bias', 'norm'])
def test_another_forward_or_another_layer_is_used(change):
    layer, x = make_layer(), torch.randn(2, 16, 6, 5)
    if change == 'forward':
        layer.conv.forward = lambda z: z.flip(1)
    elif change == 'bias':
        layer.conv = nn.Conv1d(16, 16, 3, padding=1)
    else:
        layer.gn = nn.InstanceNorm1d(16)
    y_h, y_w = (layer.gn(layer.conv(z)).sigmoid() for z in (x.mean(3), x.mean(2)))
    weighed = x * y_h.unsqueeze(3) * y_w.unsqueeze(2)
    torch.testing.assert_close(layer(x), x + layer.scale.view(-1, 1, 1) * weighed)


@pytest.mark.parametrize('norm', ['weight_norm', 'orthogonal', 'spectral_norm'])
def test_parametrizations_are_used(norm):
    layer, x = make_layer(), torch.randn(2, 16, 6, 5)
    plain = layer.conv.weight.clone()
    getattr(parametrizations, norm)(layer.conv)
    layer.eval()
    assert (norm == 'weight_norm') == torch.allclose(layer.conv.weight, plain, atol=1e-5)
    torch.testing.assert_close(layer(x), formula(layer, x))


@pytest.mark.parametrize('convert', ['half', 'bfloat16', 'double'])
def test_gates_of_called_children_keep_their_precision(convert):
    layer = getattr(make_layer(), convert)()
    x = torch.randn(2, 16, 6, 5).to(layer.scale.dtype)
    plain, gates = layer(x), layer.gate(x)
    layer.conv.register_forward_hook(lambda *args: None)
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(layer(x), plain, rtol=0.05, atol=2e-3)  # rounded once more
    for ours, expected in zip(layer.gate(x), gates, strict=True):
        assert ours.dtype == expected.dtype
        torch.testing.assert_close(ours, expected)


def test_one_element_groups_are_normalised_to_zero_by_called_children():
    layer, x = ELA(16, 'T', num_groups=16), torch.randn(1, 16, 1, 1)
    nn.init.normal_(layer.gn.bias)
    expected = layer(x)
    layer.gn.register_forward_hook(lambda *args: None)
    torch.testing.assert_close(layer(x), expected)


def test_a_compiler_takes_called_children_in_one_graph():
    layer, x = make_layer(), torch.randn(2, 16, 6, 5)
    layer.conv = LoRA(layer.conv)
    compiled = torch.compile(layer, backend='eager', fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    torch.compiler.reset()


# Sharded training: a size policy shards `conv` and `gn` each for itself.


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), make_layer(), nn.Conv2d(16, 4, 1))


def step(network, rank):
    generator = torch.Generator().manual_seed(rank)
    out = network(torch.randn(2, 3, 8, 7, generator=generator))
    loss = out.square().mean()
    loss.backward()
    return loss.item()


def shard_fsdp1(network):
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import size_based_auto_wrap_policy

    policy = functools.partial(size_based_auto_wrap_policy, min_num_params=1)
    cpu = torch.device('cpu')
    network = FullyShardedDataParallel(network, auto_wrap_policy=policy, device_id=cpu)
    assert type(network.module[1].conv) is FullyShardedDataParallel
    return network


def shard_fsdp2(network):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh('cpu', (2,))
    for module in (network[1].conv, network[1].gn, *network, network):
        fully_shard(module, mesh=mesh)
    return network


def train_one(rank, folder, shard):
    """The program of each process: two steps."""
    store = f'file://{folder}/store'
    with disconnect_at_end():
        distributed.init_process_group('gloo', init_method=store, rank=rank, world_size=2)
        network = shard(make_network())
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        losses = []
        for _ in range(2):
            losses.append(step(network, rank))
            optimizer.step()
            optimizer.zero_grad()
        torch.save(losses, folder / f'{rank}.pth')


@pytest.mark.long
@pytest.mark.core
@pytest.mark.parametrize('shard', [shard_fsdp1, shard_fsdp2])
def test_sharded_training_is_training_on_both_batches(tmp_path, shard):
    multiprocessing.spawn(train_one, (tmp_path, shard), nprocs=2, daemon=True)
    sharded = [torch.load(tmp_path / f'{rank}.pth') for rank in range(2)]
    network = make_network()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for found in zip(*sharded, strict=True):
        expected = [step(network, rank) for rank in range(2)]
        for parameter in network.parameters():
            parameter.grad /= 2
        assert found == pytest.approx(expected, rel=1e-4)
        optimizer.step()
        optimizer.zero_grad()
