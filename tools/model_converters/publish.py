"""Makes a checkpoint fit to be handed out: the weights alone, and small."""

from __future__ import annotations

import os
from typing import Any

import torch

from mmela.engine.checks.weights import check_checkpoint


def publish(source: str, target: str, half: bool = False, trust: bool = False) -> int:
    """Writes the weights of a training checkpoint and the names of its classes to a new file.

    What was averaged by an EMAHook is in the weights already. Optimizer, schedule and messages of
    the run are left out, and so is everything that ``torch.load(weights_only=True)`` refuses.

    Args:
        source: A checkpoint of MMEngine.
        target: The file to write.
        half: Whether to store what has at least two dimensions, the kernels, in float16. Biases
            and normalisation stay as they are: they weigh little, and a variance may be too large
            for float16.
        trust: Whether to run the code that ``source`` may hold.

    Returns:
        Size of the new file in bytes.

    Raises:
        UserError: If ``source`` is no checkpoint.
    """
    checkpoint: dict[str, Any] = check_checkpoint(source, trust=trust)
    weights = checkpoint.get('state_dict', checkpoint)
    if half:
        weights = {
            name: tensor.half() if tensor.is_floating_point() and tensor.dim() >= 2 else tensor
            for name, tensor in weights.items()
        }
    meta = checkpoint.get('meta', {})
    names = ('dataset_meta', 'epoch', 'iter', 'seed', 'data_preprocessor', 'converted_for')
    kept = {name: meta[name] for name in names if name in meta}
    folder = os.path.dirname(target)
    if folder:
        os.makedirs(folder, exist_ok=True)
    torch.save(dict(meta=kept, state_dict=dict(weights)), target)
    return os.path.getsize(target)
