"""A hook that sends this process a signal, and one that writes down what it trained on."""

import os
import signal

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class SendSignalHook(Hook):
    """Sends a signal in the middle of an iteration.

    Args:
        iteration: The iteration, from 1.
        name: The signal.
        rank: The process that gets it.
    """

    def __init__(self, iteration, name='SIGTERM', rank=0):
        self.iteration = iteration
        self.signal = signal.Signals[name]
        self.rank = rank

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration and runner.rank == self.rank:
            os.kill(os.getpid(), self.signal)


@HOOKS.register_module()
class TraceHook(Hook):
    """Keeps, in ``runner.trace``, the sum of each batch, its files and its losses."""

    priority = 'LOWEST'

    def before_run(self, runner):
        runner.trace = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        inputs = torch.stack([image.float().mean() for image in data_batch['inputs']])
        loss = float(outputs['loss'])
        draw = float(torch.rand(()))  # where the step's random numbers stand after it
        runner.trace.append((runner.iter, batch_idx, inputs.tolist(), loss, draw))
