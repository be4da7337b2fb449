"""``mmela.RecomputeHook`` in a config: the same training with recomputed outputs."""

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


class Network(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.attention = ELA(16)
        self.head = nn.Conv2d(16, 16, 1)
        self.is_kept: list[bool] = []
        self.fails = False

    def forward(self, inputs, data_samples=None, mode='tensor'):
        weighed = self.attention(inputs)
        out = self.head(weighed)
        # What unpacks to another tensor than the output itself was recomputed.
        self.is_kept.append(out.grad_fn._saved_input.data_ptr() == weighed.data_ptr())
        if self.fails:
            raise ZeroDivisionError
        return dict(loss=out.square().mean())


def make_runner(work_dir, hooks):
    torch.manual_seed(0)
    return Runner(
        Network(),
        str(work_dir),
        train_dataloader=DataLoader([dict(inputs=torch.randn(16, 9, 7)) for _ in range(6)], 2),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=hooks,
        randomness=dict(seed=0),
        experiment_name=work_dir.name,
    )


HOOK = dict(type='mmela.RecomputeHook')


def test_it_trains_the_same_network(tmp_path):
    expected = make_runner(tmp_path / 'kept', []).train()
    found = make_runner(tmp_path / 'again', [HOOK]).train()
    assert expected.is_kept == [True] * 6
    assert found.is_kept == [False] * 6
    state = found.state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(state[name], tensor), name
    found(torch.randn(1, 16, 9, 7))
    assert found.is_kept[-1]  # it ended with the training


def test_an_iteration_that_raises_leaves_nothing_on(tmp_path):
    runner = make_runner(tmp_path, [HOOK])
    runner.model.fails = True
    with pytest.raises(ZeroDivisionError):
        runner.train()
    other = Network()
    other(torch.randn(1, 16, 9, 7))
    assert runner.model.is_kept == [False] and other.is_kept == [True]


def test_its_name_resolves_from_every_scope():
    assert HOOKS.get('mmela.RecomputeHook') is RecomputeHook


def test_a_misspelt_name_is_corrected():
    with pytest.raises(ConfigError, match='RecomputeHook'):
        HOOKS.get('mmela.RecomputHook')
