"""The layers that gates are made of: norms from a config, and how both are run."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmela.attentions.arguments import check_count, divisor
from mmela.errors import ConfigError

# They normalise other shapes than (N, C, H, W).
_NOT_FOR_MAPS = (nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm3d)


def run(layer: nn.Module, z: Tensor) -> Tensor:
    """Runs a layer in the dtype of its input, whatever the dtype of its parameters.

    Args:
        layer: A convolution, a linear layer or a norm.
        z: Its input, in the dtype of the gates.

    Returns:
        Its output, dtype of ``z``.
    """
    tensors = chain(layer.named_parameters(), layer.named_buffers())
    cast = {
        name: tensor.to(z.dtype)
        for name, tensor in tensors
        if tensor.is_floating_point() and tensor.dtype != z.dtype
    }
    if not cast:
        return layer(z)
    from torch.func import functional_call  # torch 2.0; only networks of another dtype come here

    out = functional_call(layer, cast, (z,))
    if layer.training:
        with torch.no_grad():
            for name, buffer in layer.named_buffers():
                if name in cast:  # a BatchNorm moved the statistics of the copy
                    buffer.copy_(cast[name])
    return out


def build_norm(
    norm_cfg: Mapping[str, Any] | None, channels: int, *, owner: str, postfix: int | str = ''
) -> tuple[str, nn.Module]:
    """Builds a norm with :func:`mmcv.cnn.build_norm_layer`.

    Args:
        norm_cfg: Such as ``dict(type='BN')``, ``dict(type='SyncBN')`` or ``dict(type='GN',
            num_groups=16)``; None means no norm. A ``num_groups`` that does not divide the width
            falls to the next divisor and says so once, as in :class:`mmela.ELA`.
        channels: Width of what it normalises, a map of shape (N, channels, H, W).
        owner: The attention that it belongs to, for messages.
        postfix: Appended to the name.

    Returns:
        Its name, such as ``'bn1'``, and the norm.

    Raises:
        ConfigError: If the config builds none, or one for other shapes.
    """
    from mmcv.cnn import build_norm_layer  # late: `import mmela` and ELA do without MMCV

    if norm_cfg is None:
        return f'norm{postfix}', nn.Identity()
    if not isinstance(norm_cfg, Mapping) or 'type' not in norm_cfg:
        raise ConfigError(
            f"{owner}: norm_cfg must be a dict with the norm's type, such as dict(type='BN'), or "
            f'None for no norm, and {norm_cfg!r} was given.'
        )
    cfg = dict(norm_cfg)
    if cfg['type'] in ('GN', nn.GroupNorm) and 'num_groups' in cfg:
        check_count('num_groups of norm_cfg', cfg['num_groups'])
        cfg['num_groups'] = divisor(owner, 'num_groups', cfg['num_groups'], channels)
    try:
        name, norm = build_norm_layer(cfg, channels, postfix)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f'{owner}: norm_cfg={dict(norm_cfg)!r} builds no norm ({type(error).__name__}: '
            f"{error}); 'BN', 'SyncBN' and 'GN' with num_groups are types that fit."
        ) from error
    if type(norm) in _NOT_FOR_MAPS:
        raise ConfigError(
            f'{owner}: norm_cfg={dict(norm_cfg)!r} builds a {type(norm).__name__}, which takes no '
            "map of shape (N, C, H, W); 'BN', 'SyncBN' and 'GN' with num_groups are types that fit."
        )
    return name, norm


def normalise(norm: nn.Module, z: Tensor) -> Tensor:
    """Runs a norm, where it has one value to take its statistics from too.

    PyTorch refuses a BatchNorm in training, and a GroupNorm always, whose statistics come from a
    single value; a batch of one with a 1x1 map leads there. One value is its own mean, so its
    normalised value is 0 and the bias leaves the norm; running statistics stay as they are, for a
    variance of one value is undefined. SyncBN is left to itself: its statistics come from all
    processes, which this one cannot see.

    Args:
        norm: The norm.
        z: Shape (N, C, H, W), in the dtype of the gates.

    Returns:
        The normalised map: shape and dtype of ``z``.
    """
    if not _has_one_value(norm, z):
        return run(norm, z)
    out = z - z  # not zeros: it keeps NaN visible and the graph whole
    if norm.weight is None:
        return out
    weight, bias = (p.to(z.dtype).view(1, -1, 1, 1) for p in (norm.weight, norm.bias))
    return out * weight + bias


def _has_one_value(norm: nn.Module, z: Tensor) -> bool:
    if isinstance(norm, nn.GroupNorm):
        return bool(z.numel() == z.size(0) * norm.num_groups)
    if isinstance(norm, _BatchNorm) and not isinstance(norm, nn.SyncBatchNorm):
        of_the_batch = norm.training or norm.running_mean is None
        return of_the_batch and bool(z.numel() == z.size(1))
    return False
