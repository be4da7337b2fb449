"""Coordinate Attention as a layer, registered as ``mmela.CoordAtt``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmela.attentions.arguments import check_count, check_flag, check_kernel_size, divisor
from mmela.attentions.base import Attention
from mmela.attentions.gate_layers import build_norm, normalise, run
from mmela.errors import ConfigError
from mmela.ops import strip_means
from mmela.registry import MODELS

_NORM_CFG = dict(type='BN')
_MIN_HIDDEN = 8  # authors' code; not in the paper


@MODELS.register_module()
class CoordAtt(Attention):
    """Coordinate Attention, and each step from it to ELA.

    Paper: Hou, Zhou and Feng, "Coordinate Attention for Efficient Mobile Network Design",
    arXiv 2103.02907. Authors' code: ``coordatt.py`` of ``houqb/CoordAttention``. Each axis is
    pooled into a strip. A hidden layer and a norm encode both strips together; a convolution for
    each turns them into gates:

    .. code-block:: none

        z_h, z_w   = mean of x over W, over H                      (N, C, H, 1), (N, C, W, 1)
        [f_h, f_w] = hswish(bn1(conv1([z_h, z_w])))                (N, C', H + W, 1)
        y_h, y_w   = sigmoid(conv_h(f_h)), sigmoid(conv_w(f_w))    (N, C, H, 1), (N, C, 1, W)
        out        = x * y_h * y_w

    The ELA paper (arXiv 2403.01123) criticises the BatchNorm, the reduced width, and the dense 1x1
    convolutions between the joined strips and the gates. The arguments change these one at a time;
    with all of them changed the layer is :class:`mmela.ELA`, see ``docs/attention_zoo.md``.

    The weights start with PyTorch's default, unless the rule of a network for its Conv2d
    initialises them, as that of the authors' MobileNetV2 does. With ``joint=False`` a strip of a
    1x1 map and a batch of one is a single value; the output of a BatchNorm in training mode is its
    bias then.

    Differences from the authors' code: none in the function. With ``joint=False`` a BatchNorm in
    training mode normalises each strip by its own statistics and updates the running ones twice.

    Args:
        in_channels: Channels C of the map.
        reduction: The hidden layer has ``max(C // reduction, 8)`` channels. None removes it: the
            norm is C wide, the gates are the sigmoid of its output, and there is no h-swish,
            ``conv_h`` or ``conv_w``.
        norm_cfg: The norm, such as ``dict(type='SyncBN')`` or ``dict(type='GN', num_groups=16)``;
            None for none.
        joint: Whether ``conv1`` and the norm run on both strips joined. False: on one after the
            other, with the same weights.
        kernel_size: Odd length of ``conv1`` along a strip. Above 1 it needs ``joint=False``, as it
            would mix the last row with the first column.
        group_size: Channels in a group of ``conv1``: None for one group, 1 for each channel alone.
            If the number of groups, ``C // group_size``, does not divide the widths, the next
            smaller divisor is used with a warning.
        bias: Whether ``conv1`` has a bias.
        residual: The output of the layer, see :class:`mmela.attentions.base.Attention`.
        init_cfg: Initialization config of MMEngine.

    Raises:
        ConfigError: If an argument is invalid.

    Examples:
        >>> import torch
        >>> CoordAtt(64)(torch.rand(2, 64, 32, 48)).shape
        torch.Size([2, 64, 32, 48])
        >>> as_ela = CoordAtt(64, reduction=None, norm_cfg=dict(type='GN', num_groups=16),
        ...                   joint=False, kernel_size=7, group_size=1, bias=False)
        >>> [f'{name} {tuple(p.shape)}' for name, p in as_ela.named_parameters()]
        ['conv1.weight (64, 1, 7, 1)', 'gn1.weight (64,)', 'gn1.bias (64,)']
    """

    _abbr_ = 'coord_att'

    def __init__(
        self,
        in_channels: int,
        reduction: int | None = 32,
        *,
        norm_cfg: Mapping[str, Any] | None = _NORM_CFG,
        joint: bool = True,
        kernel_size: int = 1,
        group_size: int | None = None,
        bias: bool = True,
        residual: bool | Literal['scaled'] = False,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(in_channels, residual, init_cfg)
        check_flag('joint', joint)
        check_flag('bias', bias)
        kernel_size = check_kernel_size(kernel_size)
        if joint and kernel_size > 1:
            raise ConfigError(
                f'expected kernel_size=1 with joint=True, got {kernel_size}, which would mix the '
                'last row with the first column; set joint=False.'
            )
        in_channels = width = self.in_channels
        if reduction is not None:
            width = max(in_channels // check_count('reduction', reduction), _MIN_HIDDEN)
        groups = 1
        if group_size is not None:
            wanted = in_channels // check_count('group_size', group_size)
            groups = divisor(self._label, 'groups', wanted, math.gcd(in_channels, width))

        self.joint = joint
        # A strip is a map of width 1, as in the authors' code: BatchNorm2d and their weights fit.
        self.conv1 = nn.Conv2d(
            in_channels,
            width,
            (kernel_size, 1),
            padding=(kernel_size // 2, 0),
            groups=groups,
            bias=bias,
        )
        self.norm_name, norm = build_norm(norm_cfg, width, owner=self._label, postfix=1)
        self.add_module(self.norm_name, norm)
        self.conv_h = self.conv_w = None
        if reduction is not None:
            self.conv_h = nn.Conv2d(width, in_channels, 1)
            self.conv_w = nn.Conv2d(width, in_channels, 1)

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, w = strip_means(x)
        h, w = h.unsqueeze(3), w.unsqueeze(3)  # (N, C, H, 1), (N, C, W, 1)
        if self.joint:
            length = x.size(2)
            strips = self._encode(torch.cat((h, w), dim=2))
            h, w = strips[:, :, :length], strips[:, :, length:]
        else:
            h, w = self._encode(h), self._encode(w)
        if self.conv_h is not None:
            h, w = run(self.conv_h, h), run(self.conv_w, w)
        return torch.sigmoid(h), torch.sigmoid(w).transpose(2, 3)

    def _encode(self, z: Tensor) -> Tensor:
        z = normalise(getattr(self, self.norm_name), run(self.conv1, z))
        return z if self.conv_h is None else nn.functional.hardswish(z)

    def extra_repr(self) -> str:
        """The arguments that the submodules do not show."""
        return f'joint={self.joint}, {super().extra_repr()}'
