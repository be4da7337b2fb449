"""One run of a comparison: a training and a test of one entry with one seed."""

from __future__ import annotations

import json
import os
import random
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, load_checkpoint, set_random_seed

from mmela.analysis.compare.spec import Spec, read_spec, slug
from mmela.engine import exit_on_user_error, test, train, use_resume
from mmela.engine.hooks.load_report_hook import unwrap
from mmela.errors import UserError
from mmela.registry import HOOKS

RESULT = 'result.json'


@HOOKS.register_module()
class ReferenceWeightsHook(Hook):
    """Starts a network from the initial weights of another, wherever they share a tensor.

    A layer more shifts the random numbers of all that are initialised after it. With this hook two
    networks of one seed start from the same weights in all that they share.

    Args:
        model: Config of the reference network.
        seed: Of the run.
    """

    priority = 'VERY_HIGH'  # before an EMAHook takes the weights over

    def __init__(self, model: Any, seed: int) -> None:
        self.model = model
        self.seed = seed

    def before_train(self, runner: Runner) -> None:
        """Takes the tensors over, after the network was initialised and ``load_from`` was loaded.

        A run that continues from a checkpoint has its weights already.
        """
        if runner.iter > 0 or runner.epoch > 0:
            return
        states = torch.get_rng_state(), np.random.get_state(), random.getstate()
        set_random_seed(self.seed)
        reference = MODELS.build(self.model)
        if hasattr(reference, 'init_weights'):
            reference.init_weights()
        if runner.cfg.get('load_from'):
            load_checkpoint(reference, runner.cfg.load_from, map_location='cpu', logger='silent')
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        ours = unwrap(runner.model).state_dict()
        for name, tensor in reference.state_dict().items():
            if name in ours and ours[name].shape == tensor.shape:
                ours[name].copy_(tensor)


def folder_of(out: str | Path, entry: str, seed: int) -> Path:
    """The folder of a run."""
    return Path(out, 'runs', slug(entry), f'seed{seed}')


def command_of(spec_file: str, entry: str, seed: int, out: str) -> str:
    """The command that repeats one run."""
    words = ['mmela', 'compare', spec_file, '--entry', entry, '--seed', str(seed), '--out', out]
    return shlex.join(words)


def run_cell(spec: Spec, entry: str, seed: int, out: str | Path) -> dict[str, Any]:
    """Trains and tests one entry with one seed, or goes on where it was interrupted.

    Args:
        spec: The comparison.
        entry: The name of the entry.
        seed: Of the run.
        out: Folder of the comparison.

    Returns:
        What was written to ``result.json`` in the folder of the run.

    Raises:
        UserError: If the training or test cannot be done.
    """
    folder = folder_of(out, entry, seed)
    folder.mkdir(parents=True, exist_ok=True)
    cfg = spec.config(entry, seed, str(folder))
    reference = spec.config(spec.reference, seed, str(folder))
    cfg.dump(folder / 'config.py')
    cfg.custom_hooks = [
        *(cfg.get('custom_hooks') or []),
        dict(type='mmela.ReferenceWeightsHook', model=model_of(reference), seed=seed),
    ]
    use_resume(cfg, 'auto')
    started = time.time()
    init_default_scope(cfg.default_scope)
    train(cfg)
    checkpoint = (folder / 'last_checkpoint').read_text().strip()
    tested = spec.config(entry, seed, str(folder))
    metrics = test(tested, str(folder / os.path.basename(checkpoint)))
    if spec.metric not in metrics:
        found = ', '.join(metrics) or 'nothing, as no box was found'
        raise UserError(f'metric of the SPEC: expected one of {found}, got {spec.metric!r}.')
    result = dict(
        entry=entry,
        seed=seed,
        metric=float(metrics[spec.metric]),
        metrics={k: float(v) for k, v in metrics.items() if isinstance(v, (int, float))},
        seconds=round(time.time() - started, 1),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    part = folder / f'{RESULT}.part'
    part.write_text(json.dumps(result, indent=2))
    part.replace(folder / RESULT)
    return result


def model_of(cfg: Config) -> Any:
    """The model of a config, with its data preprocessor as the runner adds it."""
    model = cfg.model
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return model


def main() -> None:
    """``python -m mmela.analysis.compare.cell SPEC ENTRY SEED OUT``: one run in this process."""
    spec_file, entry, seed, out = sys.argv[1:]
    with exit_on_user_error():
        run_cell(read_spec(spec_file), entry, int(seed), out)


if __name__ == '__main__':
    main()
