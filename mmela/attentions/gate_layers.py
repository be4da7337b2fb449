"""How the layers that compute gates are built and run."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmela.attentions.arguments import check_count, divisor
from mmela.errors import ConfigError

_OTHER_SHAPES = (nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm3d)  # not for (N, C, H, W)
_SUGGESTION = "use 'BN', 'SyncBN' or 'GN' with num_groups."


def run(layer: nn.Module, z: Tensor) -> Tensor:
    """Runs a layer in the dtype of its input, whatever the dtype of its parameters.

    The layer is called, so its forward hooks run, and it may be a wrapped or replaced one.

    Args:
        layer: A convolution, a linear layer or a norm.
        z: Its input, in the dtype of the gates.

    Returns:
        Its output, in the dtype of ``z``.
    """
    tensors = chain(layer.named_parameters(), layer.named_buffers())
    cast = {
        name: tensor.to(z.dtype)
        for name, tensor in tensors
        if tensor.is_floating_point() and tensor.dtype != z.dtype
    }
    if not cast:
        return layer(z)
    from torch.func import functional_call  # torch 2.0; only networks of another dtype need it

    out = functional_call(layer, cast, (z,))
    if layer.training:
        with torch.no_grad():
            for name, buffer in layer.named_buffers():
                if name in cast:  # a BatchNorm updated the statistics of the copy
                    buffer.copy_(cast[name])
    return out


def build_norm(
    norm_cfg: Mapping[str, Any] | None, channels: int, *, owner: str, postfix: int | str = ''
) -> tuple[str, nn.Module]:
    """Builds a norm with :func:`mmcv.cnn.build_norm_layer`.

    Args:
        norm_cfg: Such as ``dict(type='BN')``, ``dict(type='SyncBN')`` or ``dict(type='GN',
            num_groups=16)``; None means no norm. If ``num_groups`` does not divide the width, the
            next smaller divisor is used with a warning, as in :class:`mmela.ELA`.
        channels: Width of the map that it normalises.
        owner: The attention that it belongs to, for messages.
        postfix: Appended to the name.

    Returns:
        Its name, such as ``'bn1'``, and the norm.

    Raises:
        ConfigError: If the config builds no norm, or one for maps of another shape.
    """
    from mmcv.cnn import build_norm_layer  # late: `import mmela` and ELA do not need MMCV

    if norm_cfg is None:
        return f'norm{postfix}', nn.Identity()
    if not isinstance(norm_cfg, Mapping) or 'type' not in norm_cfg:
        raise ConfigError(
            f"{owner}: expected norm_cfg to be a dict with the norm's type, such as "
            f"dict(type='BN'), or None for no norm, got {norm_cfg!r}."
        )
    cfg = dict(norm_cfg)
    if cfg['type'] in ('GN', nn.GroupNorm) and 'num_groups' in cfg:
        num_groups = check_count('num_groups of norm_cfg', cfg['num_groups'])
        cfg['num_groups'] = divisor(owner, 'num_groups', num_groups, channels)
    try:
        name, norm = build_norm_layer(cfg, channels, postfix)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f'{owner}: norm_cfg={dict(norm_cfg)!r} builds no norm ({type(error).__name__}: '
            f'{error}); {_SUGGESTION}'
        ) from error
    if type(norm) in _OTHER_SHAPES:
        raise ConfigError(
            f'{owner}: expected norm_cfg to build a norm for maps of shape (N, C, H, W), got a '
            f'{type(norm).__name__} from {dict(norm_cfg)!r}; {_SUGGESTION}'
        )
    return name, norm


def normalise(norm: nn.Module, z: Tensor) -> Tensor:
    """Runs a norm, also if its statistics come from a single value.

    That happens for a 1x1 map and a batch of one. PyTorch refuses it, for a BatchNorm in training
    mode and for a GroupNorm. A single value is its own mean, so its normalised value is 0 and the
    output is the bias of the norm. Running statistics do not change, as the variance of a single
    value is undefined. A SyncBN takes its statistics from all processes and is always run.

    Args:
        norm: The norm.
        z: Shape (N, C, H, W), in the dtype of the gates.

    Returns:
        The normalised map: shape and dtype of ``z``.
    """
    if not _has_single_value(norm, z):
        return run(norm, z)
    out = z - z  # not zeros: NaN stays visible and the graph whole
    if norm.weight is None:
        return out
    weight, bias = norm.weight.to(z.dtype), norm.bias.to(z.dtype)
    if isinstance(norm, nn.GroupNorm) and torch.jit.is_tracing():
        # A trace keeps the branch that was taken. This operator, unlike the module, accepts a
        # single value, so the trace is right for maps of other sizes too.
        return torch.group_norm(z, norm.num_groups, weight, bias, norm.eps)
    return out * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)


def _has_single_value(norm: nn.Module, z: Tensor) -> bool:
    if isinstance(norm, nn.GroupNorm):
        return bool(z.numel() == z.size(0) * norm.num_groups)
    if isinstance(norm, _BatchNorm) and not isinstance(norm, nn.SyncBatchNorm):
        uses_batch = norm.training or norm.running_mean is None
        return uses_batch and bool(z.numel() == z.size(1))
    return False
