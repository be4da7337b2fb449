"""Signals to processes of their own: with workers, under torchrun, two at once."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

pytestmark = pytest.mark.long


@pytest.fixture
def start(repo_root, configs, shapes_root, tmp_path, free_port):
    """Starts a training of two workers and some processes in a session of its own."""

    def start(work_dir, *options, processes=1, hook=None, settings=''):
        config = tmp_path / f'{work_dir}.py'
        config.write_text(
            f"_base_ = '{configs / 'random_seg.py'}'\n"
            f'custom_hooks = [dict(type="TraceHook"), {hook}]\n{settings}\n'
            if hook
            else f"_base_ = '{configs / 'random_seg.py'}'\n{settings}\n"
        )
        arguments = [config, '--work-dir', tmp_path / work_dir, *options, '--cfg-options']
        arguments += [f'data_root={shapes_root}/', 'train_dataloader.num_workers=1']
        if processes > 1:
            command = [repo_root / 'tools' / 'dist_train.sh', config, str(processes)]
            command += arguments[1:]
        else:
            command = [sys.executable, repo_root / 'tools' / 'train.py', *arguments]
        environment = {
            **os.environ,
            'PYTHONPATH': f'{repo_root}{os.pathsep}{configs}',
            'PYTHON': sys.executable,
            'PORT': str(free_port()),
            'OMP_NUM_THREADS': '1',
        }
        environment.pop('LOCAL_RANK', None)
        log = open(tmp_path / f'{work_dir}.log', 'w')  # noqa: SIM115
        return subprocess.Popen(
            [str(word) for word in command],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    return start


def wait(process, log, status):
    found = process.wait(timeout=150)
    text = log.read_text()
    assert found == status, text[-3000:]
    assert 'Traceback' not in text, text[-3000:]
    return text


def assert_same_weights(one, other):
    one, other = (torch.load(path, weights_only=False)['state_dict'] for path in (one, other))
    assert all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.core
@pytest.mark.parametrize(
    ('processes', 'hook', 'status'),
    [
        (1, 'dict(type="SendSignalHook", iteration=5, to_group=True)', 143),
        (1, 'dict(type="SendSignalHook", iteration=5, to_group=True, name="SIGINT")', 130),
        (2, 'dict(type="SendSignalHook", iteration=5, rank=1, name="SIGUSR1")', 138),
    ],
    ids=['SIGTERM', 'Ctrl-C', 'SIGUSR1 to one of two'],
)
def test_a_run_whose_group_gets_a_signal_continues_bit_for_bit(
    processes, hook, status, start, tmp_path
):
    undisturbed = start('undisturbed', processes=processes)
    wait(undisturbed, tmp_path / 'undisturbed.log', 0)
    text = wait(start('run', processes=processes, hook=hook), tmp_path / 'run.log', status)
    assert text.count('training ended after iteration 5 of 8; saved') == 1
    text = wait(start('run', '--resume', processes=processes), tmp_path / 'run.log', 0)
    assert_same_weights(tmp_path / 'run' / 'iter_8.pth', tmp_path / 'undisturbed' / 'iter_8.pth')


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_torchrun_passes_signals_on_and_ends_without_a_traceback(number, start, tmp_path):
    settings = 'train_cfg = dict(max_iters=10000, val_interval=10000)'
    process = start('run', processes=2, settings=settings)
    log = tmp_path / 'run.log'
    try:
        deadline = time.monotonic() + 90
        while 'Iter(train) [' not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
        process.send_signal(number)
        text = wait(process, log, 128 + number)
        assert text.count('; saved') == 1 and list((tmp_path / 'run').glob('iter_*.pth'))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.core
def test_a_loss_of_one_process_that_is_not_finite_ends_both(start, tmp_path):
    hook = 'dict(type="PoisonHook", layer="backbone.layer3.0.conv1", iteration=3, rank=1)'
    started = time.monotonic()
    text = wait(start('run', processes=2, hook=hook), tmp_path / 'run.log', 2)
    assert 'iteration 3: ' in text and 'process 1: ' in text and '.jpg' in text
    assert 'backbone.layer3.0.conv1' in text
    assert time.monotonic() - started < 60
