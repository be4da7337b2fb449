"""The order of the training data, continued where an interrupted run stopped."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from mmengine.dist import get_dist_info
from torch.utils.data import DataLoader, IterableDataset

from mmela.engine.data.randomness import Sample, load_samples
from mmela.errors import UserError


def make_resumable(dataloader: DataLoader, seed: int | None) -> DataLoader:
    """Let a training dataloader start anywhere in its order and seed each sample.

    Args:
        dataloader: The dataloader; its batch sampler is replaced by a :class:`ResumableBatches`.
            One without, or of an iterable dataset, stays as it is.
        seed: ``randomness.seed``; None leaves the samples' random numbers alone.

    Returns:
        The dataloader.
    """
    if dataloader.batch_sampler is None or isinstance(dataloader.dataset, IterableDataset):
        return dataloader
    batches = ResumableBatches(dataloader.batch_sampler, len(dataloader.dataset), seed)
    # An assignment is refused, since another sampler could contradict other arguments. A new
    # DataLoader would not do: given a batch sampler, it forgets its sampler and batch size.
    vars(dataloader)['batch_sampler'] = batches
    if seed is not None:
        dataloader.dataset.__getitems__ = partial(load_samples, dataloader.dataset)
    return dataloader


class ResumableBatches:
    """A batch sampler that skips the batches an interrupted run has trained on.

    The skipped indices are drawn and nothing is loaded for them.

    Args:
        batch_sampler: The sampler.
        size: Length of the dataset.
        seed: ``randomness.seed``, or None.

    Attributes:
        epoch: The epoch, which the seeds of its samples depend on.
        skip: The batches to skip.
        is_open: Whether it yields anything: not before training, as the original MMEngine asks for
            the first batches while the loop is built.
        num_seen: The batches of this pass so far, skipped ones included.
    """

    def __init__(self, batch_sampler: Any, size: int, seed: int | None) -> None:
        self.batch_sampler = batch_sampler
        self.size = size
        self.seed = seed
        self.epoch = 0
        self.skip = 0
        self.is_open = False
        self.num_seen = 0

    def __iter__(self) -> Iterator[list]:
        rank, world_size = get_dist_info()
        position = rank  # of the next sample in the order that all processes share
        self.num_seen = 0
        for batch in self.batch_sampler if self.is_open else ():
            positions = range(position, position + len(batch) * world_size, world_size)
            position = positions.stop
            self.num_seen += 1
            if self.skip > 0:
                self.skip -= 1
            elif self.seed is None:
                yield batch
            else:  # an endless sampler passes through the dataset many times in one epoch
                yield [
                    Sample(index, self.epoch + place // self.size, self.seed)
                    for index, place in zip(batch, positions, strict=True)
                ]

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __getattr__(self, name: str) -> Any:
        if name == 'batch_sampler':  # a copy that has no attributes yet
            raise AttributeError(name)
        return getattr(self.batch_sampler, name)

    def reseed(self, old: int, new: int) -> None:
        """Take the seed of the checkpoint that is resumed.

        Args:
            old: The seed of the config.
            new: The seed of the checkpoint.
        """
        if self.seed is not None:
            self.seed = new
        if getattr(self.sampler, 'seed', None) == old:
            self.sampler.seed = new

    def next_epoch(self) -> None:
        """Begin another pass of a sampler that ends."""
        self.epoch += 1
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(self.epoch)


class EndlessIterator:
    """Batches for MMEngine's ``IterBasedTrainLoop``, from the iteration that is resumed on.

    Args:
        dataloader: A dataloader of :func:`make_resumable`.
        num_requests: The batches that the loop asks for only to get past them: the original
            MMEngine does so after a resume and would load them all.
    """

    def __init__(self, dataloader: DataLoader, num_requests: int) -> None:
        self._dataloader = dataloader
        self._num_requests = num_requests
        self._iterator: Iterator | None = None

    def __iter__(self) -> EndlessIterator:
        return self

    def __next__(self) -> Any:
        if self._num_requests > 0:
            self._num_requests -= 1
            return None
        while True:
            if self._iterator is None:
                self._iterator = iter(self._dataloader)
            try:
                return next(self._iterator)
            except StopIteration:
                batches = self._dataloader.batch_sampler
                if batches.num_seen == 0:
                    raise UserError(
                        'train_dataloader yields no batch: the dataset has fewer samples '
                        f'({batches.size}) than batch_size; lower train_dataloader.batch_size.'
                    ) from None
                batches.next_epoch()
                self._iterator = None

    def skip_iter(self, num_iters: int) -> None:
        """Nothing: the batch sampler skips what was trained on."""
