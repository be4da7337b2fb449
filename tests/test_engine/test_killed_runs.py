"""Runs that are killed with SIGKILL at any moment lose nothing that was saved."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_run import __file__ as TOY

from mmela.engine.checkpoints import read_checkpoint

#: 8 MB, so that a file takes a while to be written.
OPTIONS = (
    'model.buffer=2000000',
    'train_cfg.max_epochs=100000',
    'train_cfg.val_interval=3',
    'default_hooks.checkpoint.max_keep_ckpts=1',
)


@pytest.fixture
def start(repo_root, tmp_path, monkeypatch):
    """Starts the training in a process of its own, resumed where there is a checkpoint."""
    monkeypatch.setenv('PYTHONPATH', str(repo_root))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')

    def run():
        log = open(tmp_path / 'log.txt', 'a')
        return subprocess.Popen(
            [sys.executable, TOY, str(tmp_path / 'run'), *OPTIONS], stdout=log, stderr=log
        )

    return run


def best_iteration(folder):
    """The iteration of the newest checkpoint; each file under its final name must be whole."""
    found = [read_checkpoint(str(path))['meta'] for path in Path(folder).glob('*.pth')]
    return max((meta['iter'] for meta in found), default=0)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
    return True


@pytest.mark.long
@pytest.mark.core
def test_thirty_kills_lose_nothing(start, tmp_path):
    """Twenty at random moments after the start, ten while a file is being written."""
    folder = tmp_path / 'run'
    chance = random.Random(0)
    before = 0
    for kill in range(30):
        process = start()
        if kill % 3 == 2:
            last = {path.name for path in folder.glob('*.part')}
            wait_for(lambda last=last: {p.name for p in folder.glob('*.part')} - last)
        else:
            time.sleep(chance.uniform(1, 8))
        assert process.poll() is None, (tmp_path / 'log.txt').read_text()[-2000:]
        process.send_signal(signal.SIGKILL)
        process.wait()
        after = best_iteration(folder)
        assert after >= before
        before = after
    assert before > 100
    log = (tmp_path / 'log.txt').read_text()
    assert 'skipped' not in log and log.count('continues from') >= 20
