"""What several test folders share."""

import os
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import utils as config_utils

# Triton reads this once, when it is imported: its interpreter runs the fused kernels on CPU. It
# changes nothing else here, as `fused='auto'` leaves maps on the CPU to the lean version.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')

from mmela.datasets import generate  # noqa: E402

# For each config that stands on one of a toolbox MMEngine reads all metafiles of the toolbox, a
# hundred, which would take most of the time of loading it.
config_utils.load = cache(config_utils.load)


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
