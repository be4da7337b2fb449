"""The hook that stops a training whose loss or weights are no longer finite."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmela.engine.agreement import disconnect, first_said, highest
from mmela.engine.hooks.load_report_hook import unwrap
from mmela.errors import UserError

#: Losses in a row that are not finite before mixed precision is given up. Its scaler skips the
#: steps of those and lowers the scale.
_TOLERATED_WITH_SCALER = 9

#: Names that a message writes out.
_NAMES_SHOWN = 3


class FiniteLossHook(Hook):
    """Stops before the optimizer steps with a loss that is not finite, and says where it began.

    A checkpoint whose weights are not finite is not written. Testing such weights gives a warning.
    """

    priority = 'VERY_LOW'  # after EMA has put its weights into a checkpoint

    _runner: Runner

    def __init__(self) -> None:
        self._batch: Any = None
        self._forward: tuple = ()
        self._in_a_row = 0

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
                    f'are not finite: {_some(names)}. Continue from an earlier checkpoint with a '
                    'lower learning rate, or clip gradients: --cfg-options '
                    'optim_wrapper.clip_grad.max_norm=10.'
                )

    def before_test(self, runner: Runner) -> None:
        """Warns of weights that are not finite."""
        names = _not_finite(unwrap(runner.model).state_dict().items())
        if names:
            print_log(
                f'The weights of {len(names)} tensors are not finite, so that the results mean '
                f'nothing: {_some(names)}. Test an earlier checkpoint.',
                logger='current',
                level=logging.WARNING,
            )

    def _keep_inputs(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if module.training:
            self._forward = (args, kwargs)

    def _backward(
        self, wrapper: OptimWrapper, backward: Callable, loss: Tensor, **kwargs: Any
    ) -> None:
        is_finite = _to_host(torch.isfinite(loss.detach()).all())
        backward(loss, **kwargs)
        here = is_finite()
        if not highest(int(not here)):
            self._in_a_row = 0
            return
        self._in_a_row += 1
        tolerated = _TOLERATED_WITH_SCALER if hasattr(wrapper, 'loss_scaler') else 0
        if self._in_a_row > tolerated:
            message = self._explain(here)
            disconnect()
            raise UserError(message)

    def _explain(self, is_finite: bool) -> str:
        # All processes run the network again: its norms may wait for one another.
        losses, where = self._diagnose()
        said = None
        if not is_finite:
            images = list(dict.fromkeys(_image_paths(self._batch)))
            said = (
                f'{where} Images of this batch: '
                f'{_some(images, 16) or "unknown, as the samples have no img_path"}.'
            )
        row = f', the {self._in_a_row}th time in a row' if self._in_a_row > 1 else ''
        return (
            f'iteration {self._runner.iter + 1}: {_some(losses) or "the loss"} is not finite'
            f'{row}; {first_said(said)} The optimizer did not step. Look at the images and '
            'their annotations, lower the learning rate, or clip gradients: --cfg-options '
            'optim_wrapper.clip_grad.max_norm=10; then continue with --resume.'
        )

    def _diagnose(self) -> tuple[list[str], str]:
        """The losses that are not finite, and a sentence that says where it began."""
        model = unwrap(self._runner.model)
        names = _not_finite(model.named_parameters())
        if names:
            return [], f'these weights were not finite before this iteration: {_some(names)}.'
        if not self._forward:
            return [], 'the layer is unknown.'
        args, kwargs = self._forward
        if _has_non_finite((args, kwargs)):
            return [], 'the input of the network is not finite.'
        found: list[str] = []
        handles = [
            module.register_forward_hook(partial(_note_non_finite, found, name))
            for name, module in model.named_modules()
            if name
        ]
        try:
            with torch.no_grad():
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
        if losses:
            return losses, 'the outputs of all layers are finite.'
        return losses, 'it was finite when the same batch was run again.'


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


def _some(names: list[str], shown: int = _NAMES_SHOWN) -> str:
    return ', '.join(names[:shown]) + (', ...' if len(names) > shown else '')
