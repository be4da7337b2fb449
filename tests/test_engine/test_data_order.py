"""The order of the data and the random numbers of samples, without a run."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmela.engine.data.order import EndlessIterator, make_resumable
from mmela.engine.data.randomness import Sample, load_samples, seed_step
from mmela.engine.data.resumable_hook import ResumableDataHook
from mmela.errors import UserError


class Draws(Dataset):
    """Nine samples, each its index and a draw of every generator."""

    metainfo = {}

    def __init__(self):
        self.loaded = []

    def __len__(self):
        return 9

    def __getitem__(self, index):
        self.loaded.append(index)
        return torch.tensor([index, *draws()], dtype=torch.float64)


def draws():
    return [random.random(), np.random.rand(), torch.rand((), dtype=torch.float64).item()]


def dataloader(sampler=DefaultSampler, seed=3, **kwargs):
    dataset = Draws()
    loader = DataLoader(
        dataset, batch_size=2, sampler=sampler(dataset, seed=0, shuffle=True), **kwargs
    )
    make_resumable(loader, seed).batch_sampler.is_open = True
    return loader


def test_a_sample_draws_the_same_whatever_was_drawn_before():
    dataset = Draws()
    first = load_samples(dataset, [Sample(4, 1, 0)])[0]
    again = load_samples(dataset, [Sample(2, 1, 0), Sample(4, 1, 0)])[1]
    assert torch.equal(first, again)
    for other in (Sample(5, 1, 0), Sample(4, 2, 0), Sample(4, 1, 1)):
        assert not set(load_samples(dataset, [other])[0][1:].tolist()) & set(first[1:].tolist())


def test_the_generators_draw_different_numbers_and_are_left_as_they_were():
    states = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()
    sample = load_samples(Draws(), [Sample(4, 1, 0)])[0]
    assert len(set(sample[1:].tolist())) == 3
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[1])
    assert (np.random.get_state()[1] == states[2]).all()


def test_a_step_draws_by_seed_iteration_and_process():
    def of(*key):
        seed_step(*key)
        return tuple(draws())

    assert of(0, 5, 1) == of(0, 5, 1)
    assert len({of(0, 5, 1), of(1, 5, 1), of(0, 6, 1), of(0, 5, 0), of(5, 0, 1)}) == 5


def test_without_a_seed_the_dataset_and_its_batches_are_untouched():
    loader = dataloader(seed=None)
    assert not hasattr(loader.dataset, '__getitems__')
    assert list(loader.batch_sampler)[0] == [int(row[0]) for row in next(iter(loader))]


def test_batches_that_were_trained_on_are_skipped_and_not_loaded():
    whole, rest = dataloader(), dataloader()
    rest.batch_sampler.skip = 3
    batches = list(whole)
    assert all(map(torch.equal, batches[3:], rest))
    assert len(rest.dataset.loaded) == 3
    assert len(list(rest)) == 5 == len(rest)  # the next epoch is a whole one


@pytest.mark.parametrize('sampler', [DefaultSampler, InfiniteSampler])
@pytest.mark.parametrize('requests', [0, 13])  # of the original MMEngine, to get past batches
def test_a_run_by_iterations_continues_at_its_place_many_passes_later(sampler, requests):
    whole, rest = (dataloader(sampler) for _ in range(2))
    rest.batch_sampler.skip = 13
    undisturbed = EndlessIterator(whole, 0)
    expected = [next(undisturbed) for _ in range(16)]
    resumed = EndlessIterator(rest, requests)
    resumed.skip_iter(13)
    assert [next(resumed) for _ in range(requests)] == [None] * requests
    assert all(torch.equal(next(resumed), batch) for batch in expected[13:])
    assert len(rest.dataset.loaded) == sum(map(len, expected[13:]))


def test_an_image_is_augmented_differently_in_each_pass():
    batches = EndlessIterator(dataloader(InfiniteSampler), 0)
    rows = torch.cat([next(batches) for _ in range(9)])  # two passes over nine samples
    assert sorted(rows[:9, 0].tolist()) == sorted(rows[9:, 0].tolist()) == list(range(9))
    assert len(set(rows[:, 1].tolist())) == 18


def test_a_dataset_smaller_than_a_batch_is_an_error():
    loader = DataLoader(Draws(), batch_size=10, drop_last=True)
    make_resumable(loader, 0).batch_sampler.is_open = True
    with pytest.raises(UserError, match='train_dataloader.batch_size'):
        next(EndlessIterator(loader, 0))


@pytest.mark.long
@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_workers_draw_what_this_process_draws(method):
    workers = dataloader(num_workers=2, persistent_workers=True, multiprocessing_context=method)
    here = dataloader()
    for epoch in range(2):
        here.batch_sampler.epoch = workers.batch_sampler.epoch = epoch
        assert all(map(torch.equal, workers, here))


def test_several_processes_augment_as_one_does(monkeypatch):
    """The epoch of an endless sampler does not depend on how many share it."""
    alone = dataloader(InfiniteSampler)
    expected = {}
    for batch in (next(it) for it in [EndlessIterator(alone, 0)] * 9):
        expected.update({tuple(row[:2].tolist()): None for row in batch})
    seen = {}
    for rank in range(2):
        for module in ('mmela.engine.data.order', 'mmengine.dataset.sampler'):
            monkeypatch.setattr(f'{module}.get_dist_info', lambda rank=rank: (rank, 2))
        batches = EndlessIterator(dataloader(InfiniteSampler), 0)
        for _ in range(5):
            seen.update({tuple(row[:2].tolist()): None for row in next(batches)})
    assert set(expected) <= set(seen)


def test_a_sampler_keeps_what_mmengine_and_hooks_ask_of_it():
    loader = dataloader()
    assert loader.batch_size == loader.batch_sampler.batch_size == 2
    assert loader.batch_sampler.sampler is loader.sampler
    loader.batch_sampler.reseed(0, 7)
    assert (loader.sampler.seed, loader.batch_sampler.seed) == (7, 7)


class Resize(nn.Module):
    """A batch augmentation that keeps a size for some iterations."""

    def __init__(self, rank, size_range):
        super().__init__()
        self.rank, self.size_range, self.size = rank, size_range, None


def runner_with(augmentation, iteration):
    model = nn.Module()
    model.data_preprocessor = nn.Module()
    model.data_preprocessor.resize = augmentation
    loop = SimpleNamespace(iter=iteration)
    return SimpleNamespace(model=model, train_loop=loop, train_dataloader=dataloader(), seed=3)


def test_a_resumed_process_keeps_its_rank_and_the_settings_of_its_config():
    """The first process saves for all of them, and a setting may be changed before resuming."""
    saving, hook = Resize(0, (32, 96)), ResumableDataHook(3, True)
    runner = runner_with(saving, 0)
    hook.before_run(runner)
    saving.size = (64, 64)
    checkpoint = {'meta': {}}
    hook.before_save_checkpoint(runner, checkpoint)

    resumed, hook = Resize(1, (64, 128)), ResumableDataHook(3, True)
    runner = runner_with(resumed, 5)
    hook.before_run(runner)
    hook.after_load_checkpoint(runner, checkpoint)
    hook.before_train(runner)
    assert (resumed.rank, resumed.size_range, resumed.size) == (1, (64, 128), (64, 64))
