"""Runs in processes: killed at any moment, and resumed by another number of them."""

import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_run import __file__ as TOY
from toy_run import toy_config, toy_train

from mmela.engine import use_resume
from mmela.engine.checkpoints.reading import read_checkpoint

OPTIONS = {
    'model.buffer': 1_000_000,  # 4 MB, so that a file takes a while to be written
    'train_cfg.max_epochs': 100_000,
    'train_cfg.val_interval': 3,
    'default_hooks.checkpoint.max_keep_ckpts': 1,
    'default_hooks.checkpoint.save_best': 'acc',
}


def train(folder, log):
    """The process that is killed."""
    cfg = toy_config(folder, **OPTIONS)
    use_resume(cfg, 'auto')
    with open(log, 'a') as file:
        file.write(f'{cfg.get("load_from")}\n')
    toy_train(cfg)


def newest_iteration(folder):
    """The iteration of the newest checkpoint; a file under its final name has to be whole."""
    found = [read_checkpoint(str(path))['meta'] for path in Path(folder).glob('*.pth')]
    return max((meta['iter'] for meta in found), default=0)


def wait_for_a_part(folder, process):
    """Waits until the process has begun to write a file."""
    old = {path.name for path in folder.glob('*.part')}
    end = time.monotonic() + 60
    while not {path.name for path in folder.glob('*.part')} - old:
        assert process.is_alive() and time.monotonic() < end


@pytest.mark.long
@pytest.mark.core
def test_thirty_kills_lose_nothing(tmp_path):
    """Twenty at random moments, ten while a file is being written."""
    folder, log = tmp_path / 'run', tmp_path / 'log.txt'
    chance = random.Random(0)
    before = parts = 0
    for kill in range(30):
        process = multiprocessing.get_context('fork').Process(target=train, args=(folder, log))
        process.start()
        if kill % 3 == 2:
            wait_for_a_part(folder, process)
        else:
            time.sleep(chance.uniform(0.2, 3))
        assert process.is_alive()
        process.kill()
        process.join()
        parts += any(folder.glob('*.part'))
        after = newest_iteration(folder)
        assert after >= before
        before = after
    assert before >= 20 and parts >= 5
    assert log.read_text().count('epoch_') >= 15  # the others were killed before they resumed


@pytest.mark.long
def test_another_number_of_processes_ends_in_one_sentence(tmp_path, run_command, repo_root):
    """And the same number of images in an iteration is all that it takes to continue."""
    two = ('-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone', TOY)
    run_command(sys.executable, *two, tmp_path / 'run', cwd=tmp_path)
    environment = {**os.environ, 'PYTHONPATH': str(repo_root), 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, TOY, tmp_path / 'run', 'train_cfg.max_epochs=4']
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('error: --resume: ') and 'Traceback' not in done.stderr
    assert '2 x 4 images' in last and '1 x 4' in last
    assert '--cfg-options train_dataloader.batch_size=8' in last
    run_command(*command, 'train_dataloader.batch_size=8', cwd=tmp_path)
    assert newest_iteration(tmp_path / 'run') == 8
