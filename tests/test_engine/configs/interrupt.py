"""Hooks that inject faults into a run, and one that writes down what it trained on."""

import os
import signal

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class SendSignalHook(Hook):
    """Sends a signal in the middle of an iteration, or of the validation that comes next.

    Args:
        iteration: The iteration, from 1.
        name: The signal.
        rank: The process that sends it to itself.
        to_group: Whether the whole process group gets it, as from a terminal or torchrun.
        in_validation: Whether to wait for a validation.
    """

    def __init__(self, iteration, name='SIGTERM', rank=0, to_group=False, in_validation=False):
        self.in_validation = in_validation
        self.iteration = iteration
        self.to_group = to_group
        self.signal = signal.Signals[name]
        self.rank = rank

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration and not self.in_validation:
            self.send(runner)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration and batch_idx == 0 and self.in_validation:
            self.send(runner)

    def send(self, runner):
        if runner.rank == self.rank:
            if self.to_group:
                os.killpg(0, self.signal)
            else:
                os.kill(os.getpid(), self.signal)


@HOOKS.register_module()
class PoisonHook(Hook):
    """From an iteration on, the output of a layer is infinite.

    Args:
        layer: Its name.
        iteration: The iteration, from 1.
        rank: The process whose layer it is.
    """

    def __init__(self, layer, iteration, rank=0):
        self.layer = layer
        self.iteration = iteration
        self.rank = rank

    def before_train(self, runner):
        model = getattr(runner.model, 'module', runner.model)

        def poison(module, inputs, output):
            if runner.iter + 1 >= self.iteration and runner.rank == self.rank:
                return output * float('inf')

        model.get_submodule(self.layer).register_forward_hook(poison)


@HOOKS.register_module()
class PoisonWeightHook(Hook):
    """After an iteration, a weight of the network is NaN.

    Args:
        name: Its name.
        iteration: The iteration, from 1.
    """

    def __init__(self, name, iteration):
        self.name = name
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            runner.model.get_parameter(self.name).data[0] = float('nan')


@HOOKS.register_module()
class TraceHook(Hook):
    """Keeps, in ``runner.trace``, where each iteration stood, its batch and its loss."""

    priority = 'LOW'

    def before_run(self, runner):
        runner.trace = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        means = [image.float().mean().item() for image in data_batch['inputs']]
        runner.trace.append([runner.iter, batch_idx, means, torch.rand(()).item()])

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        runner.trace[-1].append(outputs['loss'].item())
