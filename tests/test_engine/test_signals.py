"""Signals end a run after the iteration, with a checkpoint."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from mmela.engine.hooks.signals import SignalHook
from mmela.engine.runner import Runner
from mmela.errors import set_local_rank


@pytest.fixture
def hook():
    """The hook of a run in training."""
    hook = SignalHook()
    hook.before_train(None)
    return hook


def test_a_second_signal_ends_the_run_at_once(hook, capfd):
    hook.receive(signal.SIGTERM, None)
    hook.receive(signal.SIGTERM, None)  # torchrun and Slurm send it twice
    hook._received_at -= 2
    with pytest.raises(SystemExit) as exit_:
        hook.receive(signal.SIGINT, None)
    assert exit_.value.code == 130
    assert 'SIGTERM' in capfd.readouterr().err.splitlines()[0]


def test_before_training_a_signal_ends_the_run_at_once(capfd):
    with pytest.raises(SystemExit) as exit_:
        SignalHook().receive(signal.SIGINT, None)
    assert exit_.value.code == 130 and len(capfd.readouterr().err.splitlines()) == 1


def test_a_forked_worker_does_not_end_the_run(hook):
    hook._process += 1
    hook.receive(signal.SIGTERM, None)
    assert not hook._received


class Slow(torch.utils.data.Dataset):
    """Samples that take a while to load."""

    metainfo = {}

    def __len__(self):
        return 4

    def __getitem__(self, index):
        time.sleep(0.2)
        return os.getpgid(0)


def test_workers_are_out_of_reach_of_signals_to_this_process_group():
    cfg = dict(dataset=Slow(), sampler=dict(type='DefaultSampler'), batch_size=1, num_workers=1)
    loader = Runner.build_dataloader(cfg, seed=0)
    groups = {int(group) for batch in loader for group in batch}
    assert os.getpgid(0) not in groups


@pytest.mark.long
def test_workers_end_when_they_are_no_longer_needed():
    """What they are initialised with must not keep a process from ending."""
    code = (
        'from functools import partial; from torch.utils.data import DataLoader\n'
        'from mmela.engine.hooks.signals import detach_worker\n'
        'loader = DataLoader(range(9), num_workers=1, persistent_workers=True,\n'
        '                    worker_init_fn=partial(detach_worker, None))\n'
        'kept = iter(loader); next(kept)\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=60)


@pytest.mark.parametrize(
    ('launcher', 'given', 'expected'),
    [('slurm', None, '3'), ('mpi', None, '2'), ('none', None, '0'), ('pytorch', 1, '1')],
)
def test_local_rank_is_the_launchers(launcher, given, expected, monkeypatch):
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    monkeypatch.setenv('SLURM_LOCALID', '3')
    monkeypatch.setenv('OMPI_COMM_WORLD_LOCAL_RANK', '2')
    set_local_rank(launcher, given)
    assert os.environ['LOCAL_RANK'] == expected
    set_local_rank(launcher, 7)
    assert os.environ['LOCAL_RANK'] == expected  # what is set already stays
