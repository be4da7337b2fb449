"""Random numbers derived from what they are for: a sample's, and a training step's.

The state of a generator depends on everything that was drawn before, in every worker. A seed that
is derived from (seed, epoch, index) or (seed, iteration, rank) depends on nothing else, so that a
resumed run draws what an undisturbed one draws, and two networks see the same data.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import torch


class Sample(NamedTuple):
    """What a batch sampler asks a dataset for, with everything that its seed depends on."""

    idx: int
    epoch: int
    seed: int


def seed_step(seed: int, iteration: int, rank: int) -> None:
    """Seed all generators, those of GPUs included, for one training step.

    Args:
        seed: ``randomness.seed``.
        iteration: Number of the iteration, from 0.
        rank: Number of the process.
    """
    torch.manual_seed(_seed_host('step', seed, iteration, rank))


def load_samples(dataset: Any, batch: Iterable[Sample | int]) -> list:
    """Load a batch, each sample under its own seed, and restore the generators.

    It serves as a dataset's ``__getitems__``, which PyTorch calls with what the batch sampler
    yields. What else a dataset draws, such as the other images of a mosaic, is under the same seed.

    Args:
        dataset: The dataset.
        batch: The samples; a plain index is loaded without a seed.

    Returns:
        What the dataset returns for each.
    """
    loaded = []
    with _restored_generators():
        for sample in batch:
            if isinstance(sample, Sample):
                seed = _seed_host('sample', sample.seed, sample.epoch, sample.idx)
                # torch.manual_seed would reach for the GPUs, and this may be a loader's worker.
                torch.default_generator.manual_seed(seed)
                loaded.append(dataset[sample.idx])
            else:
                loaded.append(dataset[sample])
    return loaded


def _seed_host(purpose: str, *key: int) -> int:
    """Seeds ``random`` and NumPy, and returns the seed for PyTorch.

    NumPy and PyTorch have the same generator, and one seed would give them the same numbers.
    """
    digest = blake2b(f'{purpose}{key}'.encode(), digest_size=20).digest()
    random.seed(digest[:8])
    np.random.seed(int.from_bytes(digest[8:12], 'big'))
    return int.from_bytes(digest[12:], 'big') >> 1  # PyTorch takes a signed number


@contextmanager
def _restored_generators() -> Iterator[None]:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
