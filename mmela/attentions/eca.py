"""Efficient Channel Attention as a layer, registered as ``mmela.ECA``."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmela.attentions.arguments import check_kernel_size
from mmela.attentions.base import Attention
from mmela.attentions.gate_layers import run
from mmela.ops.reference import gate_dtype
from mmela.registry import MODELS


def adaptive_kernel_size(in_channels: int) -> int:
    """The odd number nearest to ``|log2(C) / 2 + 1 / 2|``; of two, the larger (paper, section 3.2).

    Examples:
        >>> [adaptive_kernel_size(width) for width in (64, 256, 1024, 2048)]
        [3, 5, 5, 7]
    """
    size = int(abs((math.log2(in_channels) + 1) / 2))  # gamma = 2, b = 1
    return size if size % 2 else size + 1


@MODELS.register_module()
class ECA(Attention):
    """Efficient Channel Attention.

    Paper: Wang, Wu, Zhu, Li, Zuo and Hu, "ECA-Net: Efficient Channel Attention for Deep
    Convolutional Neural Networks", arXiv 1910.03151. Authors' code: ``models/eca_module.py`` of
    ``BangguWu/ECANet``. A short convolution over the sequence of the channels' means gives a gate
    per channel:

    .. code-block:: none

        x (N, C, H, W) --mean over H, W--> (N, 1, C) --conv--sigmoid--> y (N, C, 1, 1)
        out = x * y

    The weights start with PyTorch's default: the initialisation rules of the toolboxes' networks,
    like those of the authors, do not apply to a Conv1d.

    Difference from the authors' code: the default kernel size follows the paper's rule. The
    authors' layer has 3, and their networks set it by stage (3, 5, 5, 7 in the best ResNet-50; in
    MobileNetV2 1 below 96 channels and 3 from there).

    Args:
        in_channels: Channels C of the map.
        kernel_size: Odd length of the convolution over the channels; None means
            :func:`adaptive_kernel_size`.
        residual: The output of the layer, see :class:`mmela.attentions.base.Attention`.
        init_cfg: Initialization config of MMEngine.

    Raises:
        ConfigError: If an argument is invalid.

    Examples:
        >>> import torch
        >>> layer = ECA(256)
        >>> layer(torch.rand(2, 256, 32, 48)).shape
        torch.Size([2, 256, 32, 48])
        >>> sum(p.numel() for p in layer.parameters())
        5
    """

    _abbr_ = 'eca'

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | None = None,
        *,
        residual: bool | Literal['scaled'] = False,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(in_channels, residual, init_cfg)
        if kernel_size is None:
            kernel_size = adaptive_kernel_size(self.in_channels)
        kernel_size = check_kernel_size(kernel_size)
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def _gates(self, x: Tensor) -> tuple[Tensor]:
        z = x.mean((2, 3), dtype=gate_dtype(x)).unsqueeze(1)  # (N, 1, C)
        return (torch.sigmoid(run(self.conv, z)).transpose(1, 2).unsqueeze(3),)
