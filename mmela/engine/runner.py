"""MMEngine's runner with what it lacks for several processes on CPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import RUNNERS
from mmengine.runner import Runner as MMEngineRunner
from torch import nn

from mmela.engine.hooks.checkpoint import SafeCheckpointHook
from mmela.engine.hooks.frozen import FrozenAttentionHook
from mmela.engine.hooks.load_report_hook import LoadReportHook
from mmela.engine.hooks.resume import ResumeHook
from mmela.engine.notices import tell
from mmela.errors import UserError


class Runner(MMEngineRunner):
    """The runner of tools/train.py and tools/test.py."""

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wraps a model for the processes of this run.

        Args:
            model_wrapper_cfg: As in MMEngine.
            model: The model.

        Returns:
            The model, wrapped if there are several processes.
        """
        if self.distributed and get_device() == 'cpu':
            # SyncBN has no CPU kernel, and DistributedDataParallel takes no device ids there.
            model = revert_sync_batchnorm(model)
            self.logger.info('CPU: SyncBN layers, where there are any, run as BN.')
            model_wrapper_cfg = {
                'type': 'MMDistributedDataParallel',
                'broadcast_buffers': False,
                'find_unused_parameters': self.cfg.get('find_unused_parameters', False),
                **(model_wrapper_cfg or {}),
                'device_ids': None,
            }
        return super().wrap_model(model_wrapper_cfg, model)


def build_runner(cfg: Config) -> MMEngineRunner:
    """Builds the runner of a config, with the report on loaded weights.

    Args:
        cfg: The config. ``runner_type``, where it is set, is respected.

    Returns:
        The runner.

    Raises:
        UserError: If a launcher was named that did not start this process.
    """
    connect_processes(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    runner.register_hook(LoadReportHook())
    runner.register_hook(FrozenAttentionHook())
    runner.register_hook(ResumeHook())
    SafeCheckpointHook.replace_in(runner)
    return runner


@contextmanager
def connected_processes() -> Iterator[None]:
    """Disconnects what a run inside the block has connected, once the run has succeeded.

    A process that ends while gloo's threads are still there is aborted now and then. After a
    failure nothing is done: other processes may be waiting in an operation that never completes.
    """
    before = torch_dist.is_available() and torch_dist.is_initialized()
    yield
    if not before and torch_dist.is_available() and torch_dist.is_initialized():
        torch_dist.destroy_process_group()


def connect_processes(cfg: Config) -> None:
    """Connects processes that torchrun started on a machine without GPUs.

    MMEngine does it for GPUs alone: it selects a CUDA device first. What is connected already it
    leaves as it is.

    Args:
        cfg: The config; ``env_cfg.dist_cfg`` says backend and timeout in seconds.

    Raises:
        UserError: If the launcher's variables are not there.
    """
    if cfg.get('launcher', 'none') != 'pytorch' or torch_dist.is_initialized():
        return
    if not {'RANK', 'WORLD_SIZE', 'MASTER_ADDR'} <= set(os.environ):
        raise UserError(
            '--launcher pytorch is for processes that torchrun started: use '
            'tools/dist_train.sh CONFIG GPUS or tools/dist_test.sh CONFIG CHECKPOINT GPUS.'
        )
    if get_device() != 'cpu':
        return
    dist_cfg = cfg.get('env_cfg', {}).get('dist_cfg', {})
    backend = dist_cfg.get('backend', 'gloo')
    if backend == 'nccl':
        backend = 'gloo'
        tell('no GPU: the processes are connected by gloo in place of nccl.')
    timeout = timedelta(seconds=dist_cfg.get('timeout', 1800))
    torch_dist.init_process_group(backend, timeout=timeout)
