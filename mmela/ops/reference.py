r"""Efficient Local Attention written as its formula.

Source: Xu and Wan, "ELA: Efficient Local Attention for Deep Convolutional Neural Networks",
arXiv 2403.01123, section 3.3. For a feature map :math:`x` of shape (N, C, H, W):

.. math::
    z_h = mean_W(x), \quad z_w = mean_H(x), \quad
    y = sigmoid(GroupNorm(Conv1d(z))), \quad
    out = x \cdot y_h \cdot y_w

One convolution (no bias) and one normalisation serve both axes. Everything between the means and
the sigmoid is computed in :func:`gate_dtype`, and the gates are cast to the dtype of ``x`` last.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def gate_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which the gates of ``x`` are computed: float64 for float64, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """A context that disables autocast on the device of a tensor."""
    if x.is_cpu or x.is_cuda:
        return torch.autocast(x.device.type, enabled=False)
    try:
        return torch.autocast(x.device.type, enabled=False)
    except RuntimeError:  # a device without autocast: meta, or mps before torch 2.5
        return nullcontext()


def strip_means(x: Tensor) -> tuple[Tensor, Tensor]:
    """Pools a map into one strip along each axis (paper, equations 1 and 2).

    Args:
        x: Feature map of shape (N, C, H, W).

    Returns:
        The means over W, shape (N, C, H), and over H, shape (N, C, W), in :func:`gate_dtype`.
    """
    dtype = gate_dtype(x)
    return x.mean(3, dtype=dtype), x.mean(2, dtype=dtype)


def axis_gate(
    z: Tensor,
    conv_weight: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    *,
    groups: int,
    num_groups: int,
    eps: float = 1e-5,
) -> Tensor:
    """The gate of one axis: ``sigmoid(GroupNorm(Conv1d(z)))`` (paper, equations 5 and 6).

    Args:
        z: Strip of shape (N, C, L); its dtype is the dtype of the computation.
        conv_weight: Shape (C, C // groups, k) with k odd; padded by k // 2 on either side.
        gn_weight: Shape (C,).
        gn_bias: Shape (C,).
        groups: Groups of the convolution.
        num_groups: Groups of the normalisation.
        eps: Added to the variance of a group.

    Returns:
        The gate, shape (N, C, L), values in (0, 1), dtype of ``z``. PyTorch convolves float32 on
        CUDA in TF32, with 10 bits of mantissa, unless ``torch.backends.cudnn.allow_tf32`` is
        False.
    """
    # Autocast would run the convolution in half precision, whatever the dtype of its input.
    with without_autocast(z):
        padding = int(conv_weight.size(-1)) // 2  # torch 2.1 traces sizes as tensors
        u = F.conv1d(z, conv_weight.to(z.dtype), padding=padding, groups=groups)
        normed = _group_norm(u, num_groups, gn_weight.to(u.dtype), gn_bias.to(u.dtype), eps)
        return torch.sigmoid(normed)


def has_groups_of_one(channels: int, length: int, num_groups: int) -> bool:
    """Whether each group of a strip is a single element."""
    return channels * length == num_groups


def _group_norm(z: Tensor, num_groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    if has_groups_of_one(z.size(1), z.size(2), num_groups):
        # One element is its own mean: its normalised value is 0. `nn.GroupNorm` refuses this case
        # for a batch of one; maps of 1x1 meet it. The difference keeps NaN visible and the graph
        # whole.
        if not torch.jit.is_tracing():
            return (z - z) * weight[:, None] + bias[:, None]
        # A trace records one branch and may run at other sizes. Here is one that is right at all.
        groups = z.reshape(z.size(0), num_groups, -1)
        z = (groups - groups.mean(2, keepdim=True)).view_as(z)
    return torch.group_norm(z, num_groups, weight, bias, eps)


def ela_gates(
    x: Tensor,
    conv_weight: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    *,
    groups: int,
    num_groups: int,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """The two position gates of a map.

    Args:
        x: Feature map of shape (N, C, H, W).
        conv_weight: See :func:`axis_gate`, as for all that follow.
        gn_weight: Shape (C,).
        gn_bias: Shape (C,).
        groups: Groups of the convolution.
        num_groups: Groups of the normalisation.
        eps: Added to the variance of a group.

    Returns:
        ``y_h`` of shape (N, C, H, 1) and ``y_w`` of shape (N, C, 1, W), in :func:`gate_dtype`.
    """

    def gate(z: Tensor) -> Tensor:
        return axis_gate(
            z, conv_weight, gn_weight, gn_bias, groups=groups, num_groups=num_groups, eps=eps
        )

    z_h, z_w = strip_means(x)
    return gate(z_h).unsqueeze(3), gate(z_w).unsqueeze(2)


def apply_gates(
    x: Tensor, *gates: Tensor, scale: Tensor | None = None, residual: bool = False
) -> Tensor:
    """Weighs a map with gates.

    Args:
        x: Feature map of shape (N, C, H, W).
        *gates: One or more, each of which broadcasts against ``x``, such as (N, C, H, 1).
        scale: Optional factor per channel, shape (C,).
        residual: Whether ``x`` itself is added.

    Returns:
        ``[x +] [scale *] x * gate_1 * gate_2 * ...``: shape, dtype and memory format of ``x``.
    """
    first, *others = gates
    if scale is not None:
        first = first * scale.to(first.dtype).view(1, -1, 1, 1)
    out = x * first.to(x.dtype)
    for gate in others:
        out = out * gate.to(x.dtype)
    return x + out if residual else out


def ela_reference(
    x: Tensor,
    conv_weight: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    scale: Tensor | None = None,
    *,
    groups: int,
    num_groups: int,
    residual: bool = False,
    eps: float = 1e-5,
) -> Tensor:
    """Efficient Local Attention by the formula, differentiable to any order.

    The other implementations are tested against it, and tracing, ONNX export and
    ``torch.compile`` see it. Arguments and result as in :func:`mmela.ops.ela`.
    """
    y_h, y_w = ela_gates(
        x, conv_weight, gn_weight, gn_bias, groups=groups, num_groups=num_groups, eps=eps
    )
    return apply_gates(x, y_h, y_w, scale=scale, residual=residual)
