"""What the commands that run a trained network share: its weights, its classes, its device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS
from mmengine.runner import CheckpointLoader
from torch import nn

from mmela.engine.checkpoints.reading import checkpoints_as_data
from mmela.engine.checks.weights import check_checkpoint, check_weights
from mmela.engine.dataset_configs import iter_datasets
from mmela.errors import UserError, listed


def read_weights(cfg: Config, checkpoint: str) -> dict[str, Any]:
    """Reads a checkpoint as data, and downloads it where it is an address.

    Args:
        cfg: A config of :func:`mmela.engine.load_config`.
        checkpoint: A file or an address.

    Returns:
        What it holds.

    Raises:
        UserError: If it is missing, cannot be downloaded, is damaged or no checkpoint.
    """
    trust = cfg.get('trust_checkpoint', False)
    if '://' not in checkpoint:
        return check_checkpoint(checkpoint, trust=trust)
    with checkpoints_as_data(trust):
        check_weights(Config(dict(model={}, resume=True, load_from=checkpoint)), ['test'])
        contents: dict[str, Any] = CheckpointLoader.load_checkpoint(checkpoint, 'cpu', 'silent')
    return contents


def check_fit(model: nn.Module, contents: Mapping[str, Any], checkpoint: str) -> None:
    """Checks that a checkpoint holds the weights of this network, not of another.

    Args:
        model: The network.
        contents: Of the checkpoint.
        checkpoint: Its path, for the message.

    Raises:
        UserError: If it lacks more than half of the tensors of the network.
    """
    given = contents.get('state_dict', contents)
    given = {name.removeprefix('module.'): value for name, value in given.items()}
    expected = model.state_dict()
    missing = [
        name
        for name, value in expected.items()
        if getattr(given.get(name), 'shape', None) != value.shape
    ]
    if len(missing) > len(expected) / 2:
        raise UserError(
            f'{checkpoint}: expected the weights of the network of the config, got a checkpoint '
            f'without {len(missing)} of its {len(expected)} tensors ({listed(missing, 3)}); name '
            'the config that the checkpoint was trained with.'
        )


def dataset_meta(cfg: Config, contents: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """The names and colours of the classes of a trained network.

    Args:
        cfg: The config.
        contents: Of the checkpoint.
        model: The network.

    Returns:
        ``classes`` of the checkpoint, else of the config's test set, else numbers as text; and
        ``palette``, (R, G, B) from 0 to 255 for each.
    """
    meta = contents.get('meta') or {}
    saved = {str(k).lower(): v for k, v in (meta.get('dataset_meta') or {}).items()}
    if meta.get('CLASSES'):
        saved.setdefault('classes', meta['CLASSES'])
        saved.setdefault('palette', meta.get('PALETTE'))
    count = class_count(model)
    for found in (saved, _of_test_set(cfg)):
        classes = found.get('classes')
        if classes and (count is None or len(classes) >= count):
            break
    else:
        found, classes = {}, [str(index) for index in range(count or 0)]
    palette = found.get('palette')
    if palette is None or isinstance(palette, str) or len(palette) < len(classes):
        palette = np.random.default_rng(0).integers(0, 256, (len(classes), 3)).tolist()
    return {'classes': tuple(classes), 'palette': [tuple(colour) for colour in palette]}


def class_count(model: Any) -> int | None:
    """The number of classes that a network tells apart; None where its head does not say it."""
    for head in ('bbox_head', 'decode_head', 'head'):
        node = getattr(model, head, None) or getattr(getattr(model, 'roi_head', None), head, None)
        node = node[-1] if isinstance(node, nn.ModuleList) else node
        if isinstance(getattr(node, 'num_classes', None), int):
            return int(node.num_classes)  # type: ignore[union-attr]
    return None


def check_device(device: str | None) -> None:
    """Checks that a device exists.

    Args:
        device: Such as ``'cuda:1'``; None means that it is chosen.

    Raises:
        UserError: If it does not.
    """
    if device is None:
        return
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip('.')
        raise UserError(
            f'--device: expected a device of this machine, got {device!r} ({reason}); '
            '--device cpu runs everywhere.'
        ) from error


def _of_test_set(cfg: Config) -> dict[str, Any]:
    """The meta of the config's first test set, without reading its data."""
    for dataset, _ in iter_datasets(cfg, ['test']):
        kind = dataset.get('type')
        kind = DATASETS.get(kind) if isinstance(kind, str) else kind
        meta = {**getattr(kind, 'METAINFO', {}), **(dataset.get('metainfo') or {})}
        if dataset.get('classes'):
            meta['classes'] = dataset['classes']
        if isinstance(meta.get('classes'), str):  # a file with one name a line
            meta['classes'] = list_from_file(meta['classes'])
        return meta
    return {}
