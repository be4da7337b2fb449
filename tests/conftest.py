"""What several test folders share."""

from pathlib import Path

import pytest

from mmela.datasets import generate


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
