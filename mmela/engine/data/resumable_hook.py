"""The hook that makes a resumed run equal an undisturbed one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn

from mmela.engine.data.order import EndlessIterator, ResumableBatches
from mmela.engine.hooks.unwrapping import unwrap
from mmela.engine.data.randomness import seed_step

#: Where a checkpoint's meta holds the state of the batch augmentations. Converters write the
#: preprocessing of a checkpoint under 'data_preprocessor'.
_META_KEY = 'batch_augments'


class ResumableDataHook(Hook):
    """Continues the order of the data and seeds each training step.

    Args:
        seed: The seed of the config, by which the samplers were built.
        derive: Whether steps and samples are seeded, which is so where the config sets a seed.
    """

    priority = 'VERY_HIGH'

    def __init__(self, seed: int, derive: bool) -> None:
        self._seed = seed
        self._derive = derive
        self._first = 0
        self._initial: dict[str, dict] = {}
        self._resumed: dict[str, dict] = {}

    def before_run(self, runner: Runner) -> None:
        """Looks at what the batch augmentations remember before anything was trained."""
        self._initial = _memories(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Reads what they remembered."""
        self._resumed = checkpoint.get('meta', {}).get(_META_KEY, {})

    def before_train(self, runner: Runner) -> None:
        """Goes to the place in the data where the run continues."""
        loop, batches = runner.train_loop, runner.train_dataloader.batch_sampler
        if not isinstance(batches, ResumableBatches):
            return
        if loop.iter > 0:
            batches.reseed(self._seed, runner.seed)
            self._seed = runner.seed
            modules = dict(unwrap(runner.model).named_modules())
            for name, memory in self._resumed.items():
                if name in modules:
                    modules[name].__dict__.update(memory)
        if isinstance(loop, IterBasedTrainLoop):
            batches.skip = loop.iter
            asks = not hasattr(loop.dataloader_iterator, 'skip_iter')
            loop.dataloader_iterator = EndlessIterator(loop.dataloader, loop.iter if asks else 0)
        elif isinstance(loop, EpochBasedTrainLoop):
            batches.skip = _trained_batches(loop)
            if batches.skip:  # the logs count from where the epoch began
                self._first = batches.skip
                loop.run_iter = partial(self._run_iter, loop.run_iter)
        batches.is_open = True

    def before_train_epoch(self, runner: Runner) -> None:
        """Tells the batch sampler the epoch."""
        batches = runner.train_dataloader.batch_sampler
        if isinstance(batches, ResumableBatches):
            batches.epoch = runner.epoch

    def after_train_epoch(self, runner: Runner) -> None:
        """Counts from 0 again."""
        self._first = 0

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seeds the step."""
        if self._derive:
            seed_step(self._seed, runner.iter, runner.rank)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Saves the state of the batch augmentations, such as YOLOX's current image size.

        Attributes that no iteration has changed, such as the rank of the process that saves and
        settings of the config, are left out: a resumed run has its own.
        """
        changed = {}
        for name, memory in _memories(runner).items():
            before = self._initial.get(name, {})
            new = {k: v for k, v in memory.items() if k not in before or before[k] != v}
            if new:
                changed[name] = new
        if changed:
            checkpoint['meta'][_META_KEY] = changed

    def _run_iter(self, run_iter: Callable, idx: int, data_batch: Any) -> None:
        run_iter(idx + self._first, data_batch)


def _trained_batches(loop: EpochBasedTrainLoop) -> int:
    """The batches of this epoch that were trained on before the checkpoint was taken."""
    length = len(loop.dataloader)
    trained = loop.iter - loop.epoch * length
    if 0 <= trained <= length:
        if trained:
            print_log(
                f'Continue epoch {loop.epoch + 1} after {trained} of {length} batches.',
                logger='current',
            )
        return trained
    print_log(
        f'The checkpoint was taken at iteration {loop.iter}, which does not lie in epoch '
        f'{loop.epoch + 1} of {length} iterations: the epoch restarts. Expected the same batch '
        'size, number of processes and dataset as before.',
        logger='current',
        level=logging.WARNING,
    )
    return 0


def _memories(runner: Runner) -> dict[str, dict]:
    """The plain attributes of the data preprocessor's modules, by the modules' names."""
    preprocessor = getattr(unwrap(runner.model), 'data_preprocessor', None)
    if not isinstance(preprocessor, nn.Module):
        return {}
    return {
        f'data_preprocessor.{name}'.rstrip('.'): {
            key: value
            for key, value in vars(module).items()
            if key != 'training' and _is_plain(value)
        }
        for name, module in preprocessor.named_modules()
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or type(value) in (bool, int, float, str)
