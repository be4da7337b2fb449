"""A signal ends the run after the iteration, with a checkpoint to continue from.

The exit status is 128 plus the number of the signal, as a shell's: 143 after SIGTERM, 138 after
SIGUSR1, which Slurm sends by ``--signal=USR1@60``, and 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import CheckpointHook, Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner

from mmela.engine.hooks.agreement import disconnect, highest

SIGNALS = [
    getattr(signal, name) for name in ('SIGTERM', 'SIGINT', 'SIGUSR1') if hasattr(signal, name)
]

#: torchrun and Slurm both send a process the signal that ends a job. Within these seconds that is
#: one request, and not a second one.
_SAME_REQUEST_SECONDS = 1.0


class SignalHook(Hook):
    """Ends a training after the iteration in which one of its processes received a signal."""

    priority = 'LOWEST'  # after the parameter scheduler and the regular checkpoint

    def __init__(self) -> None:
        self._process = os.getpid()
        self._received = 0
        self._received_at = 0.0
        self._is_training = False

    def receive(self, signum: int, frame: Any) -> None:
        """Handles a signal.

        Args:
            signum: Its number.
            frame: Where the process was.

        Raises:
            SystemExit: If it is the second one, or training has not begun.
        """
        if os.getpid() != self._process:  # a worker that validation forked
            return
        name = signal.Signals(signum).name
        if self._is_training and not self._received:
            self._received, self._received_at = signum, time.monotonic()
            _say(f'{name}: the run ends after this iteration; a second signal ends it at once.')
        elif not self._is_training or (
            time.monotonic() - self._received_at > _SAME_REQUEST_SECONDS
        ):
            _say(f'{name}: ended.')
            raise SystemExit(128 + signum)

    def before_train(self, runner: Runner) -> None:
        """From now on there is something to save."""
        self._is_training = True

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Ends the run if a signal came, unless gradients are being accumulated."""
        optim_wrapper = runner.optim_wrapper
        if isinstance(optim_wrapper, OptimWrapperDict) or optim_wrapper.should_update():
            self._end_if_asked(runner, runner.iter + 1)

    def after_val(self, runner: Runner) -> None:
        """Ends the run if a signal came during validation."""
        if self._is_training:
            self._end_if_asked(runner, runner.iter)

    def after_train(self, runner: Runner) -> None:
        """From now on nothing is lost."""
        self._is_training = False

    def _end_if_asked(self, runner: Runner, iteration: int) -> None:
        signum = highest(self._received)
        if not signum:
            return
        self._received = signum
        name = signal.Signals(signum).name
        text = f'{name}: training ended after iteration {iteration} of {runner.max_iters}; '
        path = _save(runner, iteration)
        if path is None:
            text += "nothing was saved, as default_hooks has no 'checkpoint'."
        else:
            text += f'saved {path}; to continue, run the same command with --resume.'
        runner.logger.info(text)
        runner.visualizer.close()
        disconnect()
        raise SystemExit(128 + signum)


@contextmanager
def end_on_signals(runner: Runner) -> Iterator[None]:
    """Let signals end a training in an orderly way inside the block.

    Signals that are ignored, as those of ``nohup``, stay ignored. Outside the main thread, where
    Python allows no handlers, nothing changes.

    Args:
        runner: The runner; it gets a :class:`SignalHook`.
    """
    hook = SignalHook()
    runner.register_hook(hook)
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                previous[number] = signal.signal(number, hook.receive)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def detach_worker(worker_init_fn: Callable | None, worker_id: int) -> None:
    """Initialise a loader's worker that signals for the whole process group do not reach.

    Ctrl-C and torchrun signal process groups, and a worker that ends with them would end the run
    before its checkpoint is written. It still ends by SIGTERM, which is how the process that it
    loads for ends it, or soon after that process.

    Args:
        worker_init_fn: What else the worker is to begin with.
        worker_id: Its number.
    """
    if hasattr(os, 'setpgid'):
        os.setpgid(0, 0)
    for number in set(SIGNALS) - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if worker_init_fn is not None:
        worker_init_fn(worker_id)


def _save(runner: Runner, iteration: int) -> str | None:
    """Saves through the run's own hook, which also rotates and notes the file."""
    hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
    if hook is None:
        return None
    step = f'{runner.epoch}_iter_{iteration}' if hook.by_epoch else iteration
    hook._save_checkpoint_with_step(runner, step, dict(epoch=runner.epoch, iter=iteration))
    return hook.last_ckpt


def _say(line: str) -> None:
    """Writes from inside a handler, where a buffered stream may be busy."""
    if get_rank() == 0:
        os.write(2, f'{line}\n'.encode())
