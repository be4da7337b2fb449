"""MMEngine's CheckpointHook without the moments in which a checkpoint can be lost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from glob import escape, glob

from mmengine.dist import get_world_size, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmela.engine.checkpoints.resume_hook import batch_size_of
from mmela.engine.checkpoints.saving import PART, SAFE_LOCAL, SafeLocalBackend


class SafeCheckpointHook(CheckpointHook):
    """Writes each checkpoint beside its place, renames it, and removes old ones after that.

    That holds on a local disk; other storage backends work as they did.
    """

    backend_args: dict | None
    best_ckpt_path: str | None

    @classmethod
    def replace_in(cls, runner: Runner) -> None:
        """Puts this class in the place of each CheckpointHook of a runner.

        Args:
            runner: The runner.
        """
        for index, hook in enumerate(runner.hooks):
            if type(hook) is CheckpointHook:
                safe = cls.__new__(cls)
                safe.__dict__.update(hook.__dict__)
                runner.hooks[index] = safe

    def before_train(self, runner: Runner) -> None:
        """Finds the folder, and the best checkpoint in it.

        Args:
            runner: The runner.
        """
        out_dir = str(self.out_dir or runner.work_dir)
        if self.file_client_args is None and isinstance(
            get_file_backend(out_dir, backend_args=self.backend_args), LocalBackend
        ):
            self.backend_args = {'backend': SAFE_LOCAL}
        super().before_train(runner)
        if isinstance(self.file_backend, SafeLocalBackend):
            self._use_own_best(runner)
            self._finish(runner)
            if is_main_process():
                for part in glob(os.path.join(escape(self.out_dir), f'*{PART}')):
                    with suppress(OSError):  # left by a run that was killed while writing
                        os.remove(part)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Notes what the schedule depends on.

        Args:
            runner: The runner.
            checkpoint: What will be written; changed in place.
        """
        checkpoint['meta']['mmela'] = dict(
            processes=get_world_size(), batch_size=batch_size_of(runner)
        )

    def after_train_epoch(self, runner: Runner) -> None:
        """Saves, then removes what was replaced.

        Args:
            runner: The runner.
        """
        super().after_train_epoch(runner)
        self._finish(runner)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Saves, then removes what was replaced.

        Args:
            runner: The runner.
            batch_idx: As in MMEngine.
            data_batch: As in MMEngine.
            outputs: As in MMEngine.
        """
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        self._finish(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Saves the best, then removes what was replaced.

        Args:
            runner: The runner.
            metrics: As in MMEngine.
        """
        super().after_val_epoch(runner, metrics)
        self._finish(runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int | str, meta: dict) -> None:
        # A signal ends the run right after this, so that no later call would remove anything.
        super()._save_checkpoint_with_step(runner, step, meta)
        self._finish(runner)

    def _best(self) -> Sequence[str | None]:
        several = getattr(self, 'best_ckpt_path_dict', None)
        return [*several.values()] if several else [getattr(self, 'best_ckpt_path', None)]

    def _use_own_best(self, runner: Runner) -> None:
        """Looks for the best checkpoint in this run's folder alone.

        Its path in a checkpoint is absolute: after the folder was copied, it is the original's.
        """
        info = runner.message_hub.runtime_info
        for key in [key for key in info if key.startswith('best_ckpt') and info[key]]:
            path = os.path.join(self.out_dir, os.path.basename(str(info[key])))
            best = path if os.path.isfile(path) else None
            runner.message_hub.update_info(key, best)
            if key == 'best_ckpt' and hasattr(self, 'best_ckpt_path'):
                self.best_ckpt_path = best
            elif hasattr(self, 'best_ckpt_path_dict'):
                self.best_ckpt_path_dict[key.removeprefix('best_ckpt_')] = best

    def _finish(self, runner: Runner) -> None:
        if isinstance(self.file_backend, SafeLocalBackend):  # only the main process removes
            self.file_backend.remove_replaced(self.out_dir, [self.last_ckpt, *self._best()])
