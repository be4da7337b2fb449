"""Convolutional Block Attention Module as a layer, registered as ``mmela.CBAM``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmela.attentions.arguments import check_count, check_kernel_size
from mmela.attentions.base import Attention
from mmela.attentions.gate_layers import build_norm, normalise, run
from mmela.ops.reference import gate_dtype, without_autocast
from mmela.registry import MODELS

_NORM_CFG = dict(type='BN', momentum=0.01)


@MODELS.register_module()
class CBAM(Attention):
    """Convolutional Block Attention Module.

    Paper: Woo, Park, Lee and Kweon, "CBAM: Convolutional Block Attention Module",
    arXiv 1807.06521. Authors' code: ``MODELS/cbam.py`` of ``Jongchan/attention-module``. A gate per
    channel refines the map, and a gate per place is computed from the refined map:

    .. code-block:: none

        mlp = fc2(relu(fc1(...)))
        y_c = sigmoid(mlp(mean of x over H, W) + mlp(max of x over H, W))    (N, C, 1, 1)
        r   = x * y_c                                                        (N, C, H, W)
        y_s = sigmoid(bn(conv([max of r over C, mean of r over C])))         (N, 1, H, W)
        out = r * y_s

    The norm behind the spatial convolution is in the authors' code, a BatchNorm of momentum 0.01,
    and not in the paper's formula. For a 1x1 map and a batch of one its output in training mode is
    its bias. After ``init_weights()`` its weight is zero, as in the authors' ResNet, so the spatial
    gate starts as 1/2 everywhere. The other weights start with PyTorch's default, unless the rule
    of a network for its Conv2d initialises ``conv``.

    Differences from the authors' code: a width below ``reduction`` keeps one hidden channel, where
    theirs would have none; equal maxima share the gradient, where theirs gives it to one of them;
    their biases start at zero; the options for other poolings and for the channel gate alone are
    left out.

    Args:
        in_channels: Channels C of the map.
        reduction: The hidden layer has ``max(C // reduction, 1)`` channels.
        kernel_size: Odd size of the spatial convolution.
        norm_cfg: Norm behind it; None for none, as in the paper's formula.
        residual: The output of the layer, see :class:`mmela.attentions.base.Attention`.
        init_cfg: Initialization config of MMEngine; None means the start described above.

    Raises:
        ConfigError: If an argument is invalid.

    Examples:
        >>> import torch
        >>> CBAM(64)(torch.rand(2, 64, 32, 48)).shape
        torch.Size([2, 64, 32, 48])
    """

    _abbr_ = 'cbam'

    def __init__(
        self,
        in_channels: int,
        reduction: int = 16,
        *,
        kernel_size: int = 7,
        norm_cfg: Mapping[str, Any] | None = _NORM_CFG,
        residual: bool | Literal['scaled'] = False,
        init_cfg: Any = None,
    ) -> None:
        if init_cfg is None:
            init_cfg = dict(type='Constant', layer='_BatchNorm', val=0)
        super().__init__(in_channels, residual, init_cfg)
        kernel_size = check_kernel_size(kernel_size)
        hidden = max(self.in_channels // check_count('reduction', reduction), 1)
        self.fc1 = nn.Linear(self.in_channels, hidden)
        self.fc2 = nn.Linear(hidden, self.in_channels)
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm_name, norm = build_norm(norm_cfg, 1, owner=self._label)
        self.add_module(self.norm_name, norm)

    def forward(self, x: Tensor) -> Tensor:
        """As :meth:`Attention.forward`, but computes the refined map only once."""
        self._check_input(x)
        with without_autocast(x):
            out = self._refine(x, self._channel_gate(x))
            out = out * self._spatial_gate(out).to(x.dtype)
            if self.scale is not None:
                out = out * self.scale.to(x.dtype).view(1, -1, 1, 1)
        return x + out if self.residual else out

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y_c = self._channel_gate(x)
        return y_c, self._spatial_gate(self._refine(x, y_c))

    def _channel_gate(self, x: Tensor) -> Tensor:
        dtype = gate_dtype(x)
        mean, maximum = x.mean((2, 3), dtype=dtype), x.amax((2, 3)).to(dtype)  # (N, C)
        y = self._mlp(mean) + self._mlp(maximum)
        return torch.sigmoid(y)[:, :, None, None]

    def _mlp(self, z: Tensor) -> Tensor:
        return run(self.fc2, torch.relu(run(self.fc1, z)))

    @staticmethod
    def _refine(x: Tensor, y_c: Tensor) -> Tensor:
        return x * y_c.to(x.dtype)

    def _spatial_gate(self, refined: Tensor) -> Tensor:
        dtype = gate_dtype(refined)
        maximum, mean = refined.amax(1, keepdim=True), refined.mean(1, keepdim=True, dtype=dtype)
        z = torch.cat((maximum.to(dtype), mean), dim=1)  # (N, 2, H, W)
        return torch.sigmoid(normalise(getattr(self, self.norm_name), run(self.conv, z)))
