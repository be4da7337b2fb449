"""Compares the top-k accuracies that a config asks for with the classes of its head."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config

from mmela.engine.dataset_configs import with_keys
from mmela.errors import UserError


def check_topk(cfg: Config, splits: Sequence[str]) -> None:
    """Checks that no accuracy asks for more best classes than there are.

    MMPreTrain would find it out after the first epoch.

    Args:
        cfg: The config.
        splits: Any of ``'train'``, ``'val'``, ``'test'``.

    Raises:
        UserError: If one does.
    """
    if cfg.get('default_scope') != 'mmpretrain':
        return
    model = cfg.get('model') or {}
    head = model.get('module', model).get('head') or {}  # `module` with --tta
    classes = head.get('num_classes')
    if not isinstance(classes, int):
        return
    for split in splits:
        key = f'{split}_evaluator'
        for evaluator, where in with_keys(cfg.get(key), key):
            topk = evaluator.get('topk', 1)
            topk = topk if isinstance(topk, (list, tuple)) else [topk]
            fitting = [k for k in topk if isinstance(k, int) and k <= classes]
            is_accuracy = str(evaluator.get('type', '')).rpartition('.')[2] == 'Accuracy'
            if is_accuracy and len(fitting) < len(topk):
                ways_out = ','.join(map(str, fitting or [1]))
                raise UserError(
                    f'{where}.topk is {", ".join(map(str, topk))}, and model.head.num_classes is '
                    f'{classes}: --cfg-options "{where}.topk=[{ways_out}]".'
                )
