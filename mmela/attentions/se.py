"""Squeeze-and-Excitation as a layer, registered as ``mmela.SE``."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmela.attentions.arguments import check_count, check_flag
from mmela.attentions.base import Attention
from mmela.attentions.gate_layers import run
from mmela.ops.reference import gate_dtype
from mmela.registry import MODELS


@MODELS.register_module()
class SE(Attention):
    """Squeeze-and-Excitation.

    Paper: Hu, Shen, Albanie, Sun and Wu, "Squeeze-and-Excitation Networks", arXiv 1709.01507.
    Authors' code: ``models/SE-ResNet-50.prototxt`` of ``hujie-frank/SENet`` (Caffe). A
    bottleneck of two fully connected layers turns the means of the channels into a gate per
    channel:

    .. code-block:: none

        x (N, C, H, W) --mean over H, W--> (N, C, 1, 1) --fc1--relu--fc2--sigmoid--> y (N, C, 1, 1)
        out = x * y

    ``fc1`` and ``fc2`` are 1x1 convolutions, as in the authors' code, so the rule of a network for
    its Conv2d initialises them too. Otherwise they start with PyTorch's default.

    Differences from the authors' code: a width below ``reduction`` keeps one hidden channel (their
    widths are multiples of 16); the addition of the identity, which they fuse into the product
    ("Axpy"), is left to the block around the layer.

    Args:
        in_channels: Channels C of the map.
        reduction: The hidden layer has ``max(C // reduction, 1)`` channels.
        bias: Whether both layers have biases, as in the authors' networks. The journal version of
            the paper finds ResNets better without them.
        residual: The output of the layer, see :class:`mmela.attentions.base.Attention`.
        init_cfg: Initialization config of MMEngine.

    Raises:
        ConfigError: If an argument is invalid.

    Examples:
        >>> import torch
        >>> SE(64)(torch.rand(2, 64, 32, 48)).shape
        torch.Size([2, 64, 32, 48])
    """

    _abbr_ = 'se'

    def __init__(
        self,
        in_channels: int,
        reduction: int = 16,
        *,
        bias: bool = True,
        residual: bool | Literal['scaled'] = False,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(in_channels, residual, init_cfg)
        check_flag('bias', bias)
        hidden = max(self.in_channels // check_count('reduction', reduction), 1)
        self.fc1 = nn.Conv2d(self.in_channels, hidden, 1, bias=bias)
        self.fc2 = nn.Conv2d(hidden, self.in_channels, 1, bias=bias)

    def _gates(self, x: Tensor) -> tuple[Tensor]:
        z = x.mean((2, 3), keepdim=True, dtype=gate_dtype(x))  # (N, C, 1, 1)
        return (torch.sigmoid(run(self.fc2, torch.relu(run(self.fc1, z)))),)
