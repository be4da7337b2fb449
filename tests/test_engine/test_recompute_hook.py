"""``mmela.RecomputeHook`` in a config: the training is the same, its gradients are another way."""

from __future__ import annotations

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmela import ELA
from mmela.engine.hooks.recompute import RecomputeHook
from mmela.errors import ConfigError
from mmela.ops import recompute


class Network(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.attention = ELA(16)
        self.head = nn.Conv2d(16, 16, 1)
        self.is_kept: list[bool] = []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        attended = self.attention(inputs)
        out = self.head(attended)
        # What unpacks to another tensor than the output itself was made again.
        self.is_kept.append(out.grad_fn._saved_input.data_ptr() == attended.data_ptr())
        return dict(loss=out.square().mean())


def trained(work_dir, hooks):
    torch.manual_seed(0)
    runner = Runner(
        Network(),
        str(work_dir),
        train_dataloader=DataLoader([dict(inputs=torch.randn(16, 9, 7)) for _ in range(6)], 2),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=hooks,
        randomness=dict(seed=0),
        experiment_name=work_dir.name,
    )
    runner.train()
    return runner.model


def test_it_trains_the_same_network(tmp_path):
    expected = trained(tmp_path / 'kept', [])
    found = trained(tmp_path / 'again', [dict(type='mmela.RecomputeHook')])
    assert expected.is_kept == [True] * 6
    assert found.is_kept == [False] * 6
    state = found.state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(state[name], tensor), name
    assert getattr(recompute._active, 'outputs', None) is None  # it ended with the iteration


def test_its_name_resolves_from_every_scope():
    assert HOOKS.get('mmela.RecomputeHook') is RecomputeHook


def test_a_misspelt_hook_is_told():
    with pytest.raises(ConfigError, match='RecomputeHook'):
        HOOKS.get('mmela.RecomputHook')
