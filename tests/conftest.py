"""What several test folders share."""

import logging
import os
import runpy
import socket
import subprocess
import sys
from collections import OrderedDict
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import utils as config_utils
from mmengine.logging import MMLogger

# Triton reads this once, when it is imported: its interpreter runs the fused kernels on CPU. It
# changes nothing else here, as `fused='auto'` leaves maps on the CPU to the lean version.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')

from demo.dataset import generate  # noqa: E402

# For each config that stands on one of a toolbox MMEngine reads all metafiles of the toolbox, a
# hundred, which would take most of the time of loading it.
config_utils.load = cache(config_utils.load)


CONFIGS = Path(__file__).parent / 'test_engine' / 'configs'


@pytest.fixture(scope='session')
def configs():
    """The folder of configs that train for seconds."""
    return CONFIGS


@pytest.fixture(scope='session')
def tiny_det():
    return str(CONFIGS / 'tiny_det.py')


@pytest.fixture(scope='session')
def tiny_seg():
    return str(CONFIGS / 'tiny_seg.py')


@pytest.fixture(scope='session')
def tiny_seg_losses():
    return str(CONFIGS / 'tiny_seg_losses.py')


@pytest.fixture(scope='session')
def free_port():
    """Finds a port that nobody listens on, as several tests may connect processes at once."""

    def find():
        with socket.socket() as listener:
            listener.bind(('127.0.0.1', 0))
            return listener.getsockname()[1]

    return find


@pytest.fixture(scope='session')
def run_command(repo_root, free_port):
    """Runs a command of the repository and returns its output; fails where the command does."""

    def run(*command, cwd):
        paths = [str(repo_root), str(CONFIGS), os.environ.get('PYTHONPATH', '')]
        environment = {
            **os.environ,
            'PYTHONPATH': os.pathsep.join(filter(None, paths)),
            'PYTHON': sys.executable,
            'PORT': str(free_port()),
            'OMP_NUM_THREADS': '1',
        }
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        if done.returncode != 0:  # no assert: pytest would add the whole of `done` to the message
            raise AssertionError(done.stdout[-4000:])
        return done.stdout

    return run


@pytest.fixture
def tool(repo_root, monkeypatch, capsys):
    """Runs a tool in this process; returns its exit status and what it wrote to stderr.

    What it wrote to stdout is `tool.stdout` then.
    """

    def run(name, *arguments):
        monkeypatch.setenv('LOCAL_RANK', '0')
        # A logger of its own: MMEngine's keep the stdout of the test that made them, and a run gets
        # that of another which began in the same second.
        monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())
        monkeypatch.setattr(logging, 'raiseExceptions', False)  # of those that are still held
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        main = runpy.run_path(str(repo_root / 'tools' / name))['main']
        try:
            status = main()
        except SystemExit as exit_:
            status = exit_.code
        run.stdout, stderr = capsys.readouterr()
        return status, stderr

    return run


@pytest.fixture(scope='session')
def shapes_root(tmp_path_factory):
    """A tiny embedded data set: 8 training and 4 validation scenes of 64 px."""
    return generate(
        tmp_path_factory.mktemp('data') / 'shapes', seed=0, num_train=8, num_val=4, size=64
    )


@pytest.fixture(scope='session')
def repo_root():
    """The root of the repository."""
    return Path(__file__).resolve().parent.parent
