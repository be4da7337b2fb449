"""MMEngine's runner with mmela's hooks, and with support for several processes on CPUs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop
from mmengine.runner import Runner as MMEngineRunner
from torch import nn
from torch.utils.data import DataLoader

from mmela.engine.checkpoints.checkpoint_hook import SafeCheckpointHook
from mmela.engine.checkpoints.resume_hook import ResumeHook
from mmela.engine.data.broken_samples import name_broken_files
from mmela.engine.data.order import make_resumable
from mmela.engine.data.resumable_hook import ResumableDataHook
from mmela.engine.hooks.finite_loss import FiniteLossHook
from mmela.engine.hooks.frozen import FrozenPluginsHook
from mmela.engine.hooks.load_report_hook import LoadReportHook
from mmela.engine.hooks.signals import detach_worker
from mmela.engine.log import log_once
from mmela.errors import UserError


class Runner(MMEngineRunner):
    """The runner of tools/train.py and tools/test.py."""

    _train_dataloader: Any

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wraps a model for the processes of this run."""
        if self.distributed and get_device() == 'cpu':
            # SyncBN has no CPU kernel, and DistributedDataParallel takes no device ids there.
            model = revert_sync_batchnorm(model)
            self.logger.info('CPU: SyncBN layers, if any, run as BN.')
            model_wrapper_cfg = {
                'type': 'MMDistributedDataParallel',
                'broadcast_buffers': False,
                'find_unused_parameters': self.cfg.get('find_unused_parameters', False),
                **(model_wrapper_cfg or {}),
                'device_ids': None,
            }
        return super().wrap_model(model_wrapper_cfg, model)

    @staticmethod
    def build_dataloader(dataloader: DataLoader | dict, *args: Any, **kwargs: Any) -> DataLoader:
        """Builds a dataloader that names broken files, with workers out of reach of signals.

        Args:
            dataloader: As in MMEngine.
            *args: As in MMEngine.
            **kwargs: As in MMEngine.

        Returns:
            The dataloader.
        """
        built = MMEngineRunner.build_dataloader(dataloader, *args, **kwargs)
        if built is not dataloader:
            built.worker_init_fn = partial(detach_worker, built.worker_init_fn)
            name_broken_files(built.dataset)
        return built

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Builds the training loop on a dataloader that can start anywhere in its order.

        Args:
            loop: As in MMEngine.

        Returns:
            The loop.
        """
        dataloader = self._train_dataloader
        if isinstance(loop, dict) and isinstance(dataloader, dict) and 'dataset' in dataloader:
            derive = self._randomness_cfg.get('seed') is not None
            dataloader = self.build_dataloader(
                dataloader,
                seed=self.seed,
                diff_rank_seed=self._randomness_cfg.get('diff_rank_seed', False),
            )
            self._train_dataloader = make_resumable(dataloader, self.seed if derive else None)
            self.register_hook(ResumableDataHook(self.seed, derive))
        return super().build_train_loop(loop)


def build_runner(cfg: Config) -> MMEngineRunner:
    """Builds the runner of a config and registers mmela's hooks.

    Returns:
        The runner.

    Raises:
        UserError: If a launcher was named that did not start this process.
    """
    _connect_processes(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    runner.register_hook(LoadReportHook())
    runner.register_hook(FrozenPluginsHook())
    runner.register_hook(FiniteLossHook())
    runner.register_hook(ResumeHook())
    SafeCheckpointHook.replace_in(runner)
    return runner


@contextmanager
def disconnect_at_end() -> Iterator[None]:
    """Disconnects the processes that a run inside the block connected, once it has succeeded.

    A process that ends while gloo's threads still run is aborted now and then. After a failure
    nothing is done: other processes may wait in an operation that never completes.
    """
    before = torch_dist.is_available() and torch_dist.is_initialized()
    yield
    if not before and torch_dist.is_available() and torch_dist.is_initialized():
        # An operation's tensors are freed by gloo's threads after it has returned. That takes
        # Python's lock, which PyTorch 2.13 holds while it waits for these threads to end, so it
        # must be over before: or the process is aborted, or it waits for ever. The tensors of a
        # barrier are not Python's.
        torch_dist.barrier()
        time.sleep(0.5)
        torch_dist.destroy_process_group()


def _connect_processes(cfg: Config) -> None:
    """Connects processes that torchrun started on a machine without GPUs.

    MMEngine connects processes on GPUs alone, as it selects a CUDA device first. It leaves
    processes that are connected already as they are. ``env_cfg.dist_cfg`` sets the backend and
    the timeout in seconds.
    """
    if cfg.get('launcher', 'none') != 'pytorch' or torch_dist.is_initialized():
        return
    if not {'RANK', 'WORLD_SIZE', 'MASTER_ADDR'} <= set(os.environ):
        raise UserError(
            '--launcher pytorch expects processes that torchrun started: use '
            'tools/dist_train.sh CONFIG GPUS or tools/dist_test.sh CONFIG CHECKPOINT GPUS.'
        )
    if get_device() != 'cpu':
        return
    dist_cfg = cfg.get('env_cfg', {}).get('dist_cfg', {})
    backend = dist_cfg.get('backend', 'gloo')
    if backend == 'nccl':
        backend = 'gloo'
        log_once('no GPU: the processes are connected by gloo instead of nccl.')
    torch_dist.init_process_group(backend, timeout=timedelta(seconds=dist_cfg.get('timeout', 1800)))
