"""A training of a second that needs no toolbox: the tools' runner on four numbers.

As a command, also of torchrun: toy_run.py WORK_DIR [key=number ...], resumed where it can be.
"""

import os
import sys
from uuid import uuid4

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch import nn
from torch.utils.data import Dataset

from mmela.engine import exit_on_user_error, use_resume
from mmela.engine.checkpoints.reading import checkpoints_as_data
from mmela.engine.checkpoints.saving import explain_failed_writes, make_work_dir
from mmela.engine.runner import build_runner


@MODELS.register_module()
class ToyModel(BaseModel):
    """A linear layer, more layers behind it, and a buffer that makes its files larger."""

    def __init__(self, extra=0, buffer=0, **kwargs):
        super().__init__(**kwargs)
        self.layers = nn.Sequential(nn.Linear(4, 4), *(nn.Linear(4, 4) for _ in range(extra)))
        self.register_buffer('filling', torch.zeros(buffer))

    def forward(self, inputs, mode='tensor'):
        result = self.layers(inputs).mean()
        return {'loss': result**2} if mode == 'loss' else [result.item()]


@DATASETS.register_module()
class ToyData(Dataset):
    metainfo = {'classes': ('a', 'b')}

    def __init__(self, size=16):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return {'inputs': torch.full((4,), float(index))}


@METRICS.register_module()
class ToyScore(BaseMetric):
    """Grows with each validation."""

    count = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        type(self).count += 1
        return {'acc': type(self).count}


def toy_config(work_dir, **options):
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='ToyData'),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    cfg = Config(
        dict(
            default_scope='mmengine',
            work_dir=str(work_dir),
            model=dict(type='ToyModel'),
            train_dataloader=loader,
            val_dataloader=loader,
            val_evaluator=dict(type='ToyScore'),
            val_cfg=dict(),
            train_cfg=dict(by_epoch=True, max_epochs=3, val_interval=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3, momentum=0.9)),
            param_scheduler=[dict(type='LinearLR', end=3)],
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
            log_level='WARNING',
            # MMEngine gives two runs of one name and second the same logger.
            experiment_name=uuid4().hex,
            randomness=dict(seed=0),
        )
    )
    cfg.merge_from_dict(options)
    return cfg


def toy_train(cfg):
    """Trains as mmela.engine.train does, without the checks that need a toolbox."""
    make_work_dir(cfg.work_dir)
    trust = cfg.get('trust_checkpoint', False)
    with checkpoints_as_data(trust), explain_failed_writes(cfg.work_dir):
        runner = build_runner(cfg)
        runner.train()
    return runner


if __name__ == '__main__':
    launcher = 'pytorch' if 'WORLD_SIZE' in os.environ else 'none'
    with exit_on_user_error(launcher):
        words = dict(word.split('=') for word in sys.argv[2:])
        config = toy_config(sys.argv[1], **{key: int(value) for key, value in words.items()})
        config.launcher = launcher
        use_resume(config, 'auto')
        toy_train(config)
