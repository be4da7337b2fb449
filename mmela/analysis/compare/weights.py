"""The same initial weights for all entries of a seed, wherever their networks share them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from mmengine.runner import Runner, load_checkpoint, set_random_seed
from torch import nn

from mmela.engine.hooks.unwrapping import unwrap
from mmela.registry import HOOKS


@HOOKS.register_module()
class ReferenceWeightsHook(Hook):
    """Starts a network from the initial weights of another, wherever they share a tensor.

    A layer more shifts the random numbers of all that are initialised after it. With this hook two
    networks of one seed start from the same weights in all that they share. A part that only one
    of them loads pretrained, or each from another file (``init_cfg``), is not shared.

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
        network = unwrap(runner.model)
        ours, theirs = _pretrained(network), _pretrained(reference)
        own = {name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)}
        for name in sorted(own):
            runner.logger.info(
                f"init_cfg of {name or 'the model'} is not the reference's: it keeps its own start."
            )
        state = network.state_dict()
        for name, tensor in reference.state_dict().items():
            is_own = any(not part or name.startswith(f'{part}.') for part in own)
            if not is_own and name in state and state[name].shape == tensor.shape:
                state[name].copy_(tensor)


def _pretrained(network: nn.Module) -> dict[str, Any]:
    """What the parts of a network load by ``init_cfg``, by their name."""
    found: dict[str, Any] = {}
    for name, module in network.named_modules():
        for step in _steps(getattr(module, 'init_cfg', None)):
            # an override is for one layer of the module
            parts = [(name, step)] + [
                (f'{name}.{part["name"]}'.lstrip('.'), part)
                for part in _steps(step.get('override'))
            ]
            for part_name, part in parts:
                kind = part.get('type') or ''
                kind = getattr(kind, '__name__', str(kind)).rpartition('.')[2]
                if kind in ('Pretrained', 'PretrainedInit'):
                    found.setdefault(part_name, []).append(dict(part))
    return found


def _steps(given: Any) -> list[Mapping[str, Any]]:
    return [given] if isinstance(given, Mapping) else list(given or ())
