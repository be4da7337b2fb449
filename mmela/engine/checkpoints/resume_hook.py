"""The hook that refuses to continue a run whose network or batches have changed."""

from __future__ import annotations

import ast
import logging
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from mmela.engine.hooks.unwrapping import unwrap
from mmela.errors import UserError, listed

_NAMES_SHOWN = 3


class ResumeHook(Hook):
    """Compares a checkpoint with the run that is about to continue from it.

    MMEngine loads what fits, and fails later or not at all: with another number of iterations in
    an epoch, for one, the schedule ends early, and the learning rate rises again after it.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuses what cannot be continued, and says what the file lacks.

        Args:
            runner: The runner.
            checkpoint: What it has read.

        Raises:
            UserError: If the file holds no training, or one of another network or batch size.
        """
        if not runner.cfg.get('resume'):
            return
        path = runner.cfg.get('load_from')
        instead = (
            f'to begin a new run with its weights, leave out --resume and add --cfg-options '
            f'load_from={path}.'
        )
        meta = checkpoint.get('meta') or {}
        missing = [key for key in ('epoch', 'iter') if key not in meta]
        missing += [key for key in ('message_hub',) if key not in checkpoint]
        if missing:
            raise UserError(
                f'--resume: {path} is not a training checkpoint: it has no '
                f'{", ".join(missing)}; {instead}'
            )
        changed = _changed_tensors(runner.model, checkpoint)
        if changed:
            raise UserError(
                f'--resume: the network of the config is not the one in {path}; tensors that '
                f'differ: {len(changed)} ({listed(changed, _NAMES_SHOWN)}); {instead}'
            )
        changed_batches = _changed_batches(runner, checkpoint)
        if changed_batches:
            raise UserError(f'--resume: {path} {changed_batches}; {instead}')
        if 'optimizer' not in checkpoint:
            print_log(
                f'--resume: {path} holds no state of the optimizer: its momentum and statistics '
                'start from zero.',
                logger=runner.logger,
                level=logging.WARNING,
            )


def batch_size_of(runner: Runner) -> int | None:
    """Images in a training batch of one process, as the config says.

    Args:
        runner: The runner.
    """
    loader = runner.cfg.get('train_dataloader')
    return loader.get('batch_size') if isinstance(loader, dict) else None


def _changed_tensors(model: nn.Module, checkpoint: dict) -> list[str]:
    model = unwrap(model)
    theirs = {
        name.removeprefix('module.'): getattr(tensor, 'shape', None)
        for name, tensor in (checkpoint.get('state_dict') or {}).items()
    }
    ours = {name: tensor.shape for name, tensor in model.state_dict().items()}
    buffers = {name for name, _ in model.named_buffers()}  # a version may stop or start to save one
    return [
        name
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
        and not (name in buffers and (name not in ours or name not in theirs))
    ]


def _changed_batches(runner: Runner, checkpoint: dict) -> str:
    """What differs, and what to set; empty where nothing does."""
    meta = checkpoint['meta']
    noted = meta.get('mmela') or {}
    processes = noted.get('processes')
    batch = noted.get('batch_size') or _batch_size_in(str(meta.get('cfg', '')))
    now_processes, now_batch = get_world_size(), batch_size_of(runner)
    if not now_batch or not (batch or processes):
        return ''
    if batch and processes:
        if batch * processes == now_batch * now_processes:
            return ''
        fix = f'start {processes} processes with train_dataloader.batch_size={batch}'
        if batch * processes % now_processes == 0:
            size = batch * processes // now_processes
            fix = f'set --cfg-options train_dataloader.batch_size={size}'
        return (
            f'was trained with {processes} x {batch} images per iteration (processes x batch size)'
            f', and this run has {now_processes} x {now_batch}, to which its schedule does not '
            f'apply: {fix}'
        )
    if processes and processes != now_processes:
        return f'was trained by {processes} process(es), and this run has {now_processes}'
    if batch and batch != now_batch:
        return (
            f'was trained with a batch size of {batch}, and this run has {now_batch}: set '
            f'--cfg-options train_dataloader.batch_size={batch}'
        )
    return _changed_epochs(runner, checkpoint)


def _changed_epochs(runner: Runner, checkpoint: dict) -> str:
    """Compares the iterations of an epoch where the number of processes is not known."""
    info: Any = checkpoint['message_hub'].get('runtime_info') or {}
    iterations, epochs = info.get('max_iters'), info.get('max_epochs')
    if not iterations or not epochs or not isinstance(runner.train_loop, EpochBasedTrainLoop):
        return ''
    now = len(runner.train_dataloader)
    if iterations / epochs == now:
        return ''
    return (
        f'counts {iterations / epochs:g} iterations in an epoch, and this run has {now}: its '
        'number of processes or its data set was another; set them as they were'
    )


def _batch_size_in(config: str) -> int | None:
    """The batch size in the text of a config, which is not run."""
    try:
        for node in ast.parse(config).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                (target,) = node.targets
                if isinstance(target, ast.Name) and target.id == 'train_dataloader':
                    values = {word.arg: word.value for word in node.value.keywords}
                    return int(ast.literal_eval(values['batch_size']))
    except (SyntaxError, ValueError, KeyError, TypeError, RecursionError):
        pass  # another way to write a config
    return None
