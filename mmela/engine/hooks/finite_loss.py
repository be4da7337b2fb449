"""The hook that stops a training whose loss or weights are no longer finite."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmela.engine.hooks.agreement import disconnect, first_said, highest
from mmela.engine.hooks.unwrapping import unwrap
from mmela.errors import UserError, cause_of, listed

#: Losses in a row that are not finite before mixed precision is given up. Its scaler skips the
#: steps of those and lowers the scale.
_TOLERATED_WITH_SCALER = 9

#: Names that a message writes out, and images.
_NAMES_SHOWN = 3
_IMAGES_SHOWN = 16


class FiniteLossHook(Hook):
    """Stops before the optimizer steps with a loss that is not finite, and says where it began.

    A checkpoint whose weights are not finite is not written. Testing such weights gives a warning.
    """

    priority = 'VERY_LOW'  # after EMA has put its weights into a checkpoint

    _runner: Runner

    def __init__(self) -> None:
        self._batch: Any = None
        self._forward: tuple = ()
        self._in_a_row: Counter[OptimWrapper] = Counter()

    def before_train(self, runner: Runner) -> None:
        """Begins to look at every loss."""
        self._runner = runner
        optim_wrapper = runner.optim_wrapper
        is_dict = isinstance(optim_wrapper, OptimWrapperDict)
        for wrapper in optim_wrapper.values() if is_dict else [optim_wrapper]:
            # `after_train_iter` comes after the step; `update_params` steps after `backward`.
            wrapper.backward = partial(self._backward, wrapper, wrapper.backward)
        if not runner.cfg.get('compile'):
            unwrap(runner.model).register_forward_pre_hook(self._keep_inputs, with_kwargs=True)
        loop = runner.train_loop
        if hasattr(loop, 'run_iter'):  # a custom loop need not have it
            loop.run_iter = partial(self._run_iter, loop.run_iter)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Remembers the batch."""
        self._batch = data_batch

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Forgets the batch."""
        self._batch, self._forward = None, ()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuses to save weights that are not finite.

        Raises:
            UserError: If there are any. What was saved before stays.
        """
        for key in ('state_dict', 'ema_state_dict'):
            names = _not_finite(checkpoint.get(key, {}).items())
            if names:
                raise UserError(
                    f'iteration {runner.iter + 1}: no checkpoint was saved, as these weights '
                    f'are not finite: {listed(names, _NAMES_SHOWN)}. Continue from an earlier '
                    'checkpoint with a lower learning rate, or clip gradients: --cfg-options '
                    'optim_wrapper.clip_grad.max_norm=10.'
                )

    def before_test(self, runner: Runner) -> None:
        """Warns of weights that are not finite."""
        names = _not_finite(unwrap(runner.model).state_dict().items())
        if names:
            print_log(
                f'The weights of {len(names)} tensors are not finite, so that the results mean '
                f'nothing: {listed(names, _NAMES_SHOWN)}. Test an earlier checkpoint.',
                logger='current',
                level=logging.WARNING,
            )

    def __deepcopy__(self, memo: dict) -> FiniteLossHook:
        return self  # a copy of the network is none of this run, whose hook it holds

    def _keep_inputs(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if module.training and module is unwrap(self._runner.model):
            self._forward = (args, kwargs)

    def _run_iter(self, run_iter: Callable, *args: Any, **kwargs: Any) -> None:
        try:
            run_iter(*args, **kwargs)
        except UserError:
            raise
        except Exception as error:  # a loss may refuse what is not finite, each in its own way
            # Several processes do not fail together, and running again would wait for the others.
            where = self._unusable() if get_world_size() > 1 else self._diagnose()[1]
            if where is None:
                raise
            raise UserError(
                f'iteration {self._runner.iter + 1}: {cause_of(error)}; {self._details(where)}'
            ) from error

    def _backward(
        self, wrapper: OptimWrapper, backward: Callable, loss: Tensor, **kwargs: Any
    ) -> None:
        is_finite = _to_host(torch.isfinite(loss.detach()).all())
        backward(loss, **kwargs)
        here = is_finite()
        if not highest(int(not here)):
            self._in_a_row[wrapper] = 0
            return
        self._in_a_row[wrapper] += 1
        tolerated = _TOLERATED_WITH_SCALER if hasattr(wrapper, 'loss_scaler') else 0
        if self._in_a_row[wrapper] > tolerated:
            message = self._explain(here, self._in_a_row[wrapper])
            disconnect()
            raise UserError(message)

    def _explain(self, is_finite: bool, in_a_row: int) -> str:
        # All processes run the network again: its norms may wait for one another.
        losses, where = self._diagnose()
        where = where or 'it was finite when the same batch was run again.'
        said = first_said(None if is_finite else self._details(where))
        row = f', the {in_a_row}th time in a row' if in_a_row > 1 else ''
        names = listed(losses, _NAMES_SHOWN) or 'the loss'
        return f'iteration {self._runner.iter + 1}: {names} is not finite{row}; {said}'

    def _details(self, where: str) -> str:
        images = list(dict.fromkeys(_image_paths(self._batch)))
        named = listed(images, _IMAGES_SHOWN) or 'unknown, as the samples have no img_path'
        return (
            f'{where} Images of this batch: {named}. The optimizer did not step. Look at the '
            'images and their annotations, lower the learning rate, or clip gradients: '
            '--cfg-options optim_wrapper.clip_grad.max_norm=10; then continue with --resume.'
        )

    def _unusable(self) -> str | None:
        """A sentence about weights or an input that were not finite before the network ran."""
        names = _not_finite(unwrap(self._runner.model).named_parameters())
        if names:
            shown = listed(names, _NAMES_SHOWN)
            return f'these weights were not finite before this iteration: {shown}.'
        if _has_non_finite(self._forward):
            return 'the input of the network is not finite.'
        return None

    def _diagnose(self) -> tuple[list[str], str | None]:
        """The losses that are not finite, and a sentence that says where it began, if it does."""
        where = self._unusable()
        if where or not self._forward:
            return [], where
        model, wrapper = unwrap(self._runner.model), self._runner.optim_wrapper
        # Mixed precision, in which alone some layers overflow. Of several, each model has its own.
        is_dict = isinstance(wrapper, OptimWrapperDict)
        precision = nullcontext() if is_dict else wrapper.optim_context(model)
        args, kwargs = self._forward
        found: list[str] = []
        handles = [
            module.register_forward_hook(partial(_note_non_finite, found, name))
            for name, module in model.named_modules()
            if name
        ]
        outputs: Any = {}
        try:
            with torch.no_grad(), suppress(Exception), precision:  # the caller has the first one
                outputs = model(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
        losses = [
            name
            for name, value in (outputs.items() if isinstance(outputs, Mapping) else ())
            if 'loss' in name and _has_non_finite(value)
        ]
        if found:
            return losses, f'the first layer whose output is not finite is {found[0]}.'
        return losses, 'the outputs of all layers are finite.' if losses else None


def _to_host(flag: Tensor) -> Callable[[], bool]:
    """Brings a flag to the CPU without waiting for what a GPU is given to do meanwhile."""
    if not flag.is_cuda:
        return lambda: bool(flag)
    host = torch.empty((), dtype=torch.bool, pin_memory=True)
    host.copy_(flag, non_blocking=True)
    event = torch.cuda.Event()
    event.record()

    def read() -> bool:
        event.synchronize()
        return bool(host)

    return read


def _note_non_finite(
    found: list[str], name: str, module: nn.Module, args: Any, output: Any
) -> None:
    if not found and _has_non_finite(output):
        found.append(f'{name} ({type(module).__name__})')


def _has_non_finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.is_floating_point() and not bool(torch.isfinite(value).all())
    if isinstance(value, Mapping):
        return any(_has_non_finite(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(_has_non_finite(item) for item in value)


def _not_finite(tensors: Any) -> list[str]:
    """Names of weights and running statistics; other buffers may hold what they like."""
    return [
        name
        for name, value in tensors
        if name.endswith(('weight', 'bias', 'running_mean', 'running_var'))
        or isinstance(value, nn.Parameter)
        if _has_non_finite(value)
    ]


def _image_paths(value: Any) -> Iterator[str]:
    if isinstance(value, BaseDataElement):
        if value.get('img_path'):
            yield str(value.img_path)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _image_paths(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _image_paths(item)
