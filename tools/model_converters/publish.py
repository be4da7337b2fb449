"""Removes from a training checkpoint everything but the weights and what inference needs."""

from __future__ import annotations

import ast
from typing import Any

from checkpoint_files import write_checkpoint

from mmela.engine.checks.weights import check_checkpoint

#: Entries of ``meta`` that are kept in addition to the config.
_KEPT = ('dataset_meta', 'epoch', 'iter', 'seed', 'data_preprocessor', 'converted_for')
#: Settings of the training run that are of no use elsewhere and hold local paths.
_LOCAL_SETTINGS = ('work_dir', 'load_from', 'resume', 'launcher')


def publish(source: str, target: str, half: bool = False, trust: bool = False) -> int:
    """Writes the weights, the config and the class names of a checkpoint to a new file.

    The weights include the averages of an EMAHook. Optimizer, schedule and message hub are dropped,
    so the file can be loaded with ``torch.load(weights_only=True)``. The config stays in
    ``meta['cfg']``, where MMEngine's inferencers look for it: ``DetInferencer(weights=target)``.

    Args:
        source: Checkpoint of MMEngine.
        target: The file to write.
        half: Whether to store tensors of two or more dimensions in float16. Biases and statistics
            stay as they are: they are small, and a variance may exceed the range of float16.
        trust: Whether to run the code that ``source`` may hold.

    Returns:
        Size of the new file in bytes.

    Raises:
        UserError: If ``source`` is not a checkpoint or ``target`` cannot be written.
    """
    checkpoint: dict[str, Any] = check_checkpoint(source, trust=trust)
    weights = checkpoint.get('state_dict', checkpoint)
    if half:
        weights = {
            name: tensor.half() if tensor.is_floating_point() and tensor.dim() >= 2 else tensor
            for name, tensor in weights.items()
        }
    meta = checkpoint.get('meta', {})
    kept = {name: meta[name] for name in _KEPT if name in meta}
    if 'cfg' in meta:
        kept['cfg'] = portable_config(meta['cfg'])
    return write_checkpoint(dict(meta=kept, state_dict=dict(weights)), target)


def portable_config(text: str) -> str:
    r"""Removes the settings of one training run from the text of a config.

    The text is parsed and not executed: it comes from a checkpoint.

    Args:
        text: What ``Config.pretty_text`` returned.

    Returns:
        The text without ``work_dir``, ``load_from``, ``resume`` and ``launcher``.

    Examples:
        >>> portable_config("model = dict(type='A')\nwork_dir = '/home/me/work_dirs/a'\n")
        "model = dict(type='A')\n"
    """
    lines = text.splitlines(keepends=True)
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in _LOCAL_SETTINGS:
            for line in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[line] = ''
    return ''.join(lines)
