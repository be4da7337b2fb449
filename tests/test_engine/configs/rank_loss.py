"""A hook that writes down the losses of each process."""

import json
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class RankLossHook(Hook):
    """Writes ``loss_<rank>.json`` to the work dir: the loss of every iteration."""

    def __init__(self):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())

    def after_train(self, runner):
        Path(runner.work_dir, f'loss_{runner.rank}.json').write_text(json.dumps(self.losses))
