"""The gates of the attention layers of a network, recorded while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mmela.attentions import Attention

T = TypeVar('T')


class GateMaps(NamedTuple):
    """The gates of one layer in one forward pass, averaged over the channels."""

    #: Each gate, shape (N, H or 1, W or 1): with ELA the row gate (N, H, 1) and the column gate
    #: (N, 1, W). Values in (0, 1).
    gates: tuple[np.ndarray, ...]
    #: Their product, shape (N, H, W): the attention map.
    product: np.ndarray
    #: What the layer multiplies its input by, shape (N, H, W): the product, or with
    #: ``residual=True`` ``1 + product``, or with ``'scaled'`` ``1 + scale * product``.
    factor: np.ndarray


@contextmanager
def record_gates(model: nn.Module) -> Iterator[dict[str, list[GateMaps]]]:
    """Records the gates of every attention layer inside the block.

    Layers of mmela and of subclasses of :class:`mmela.attentions.Attention` are recorded. The
    network is left as it was when the block ends, also by an error.

    Args:
        model: Any network; one without attention gives an empty record.

    Yields:
        For each layer by name, in the order of their first use, one entry per forward pass.
    """
    with record_layers(model, gate_maps) as record:
        yield record


@contextmanager
def record_layers(
    model: nn.Module, see: Callable[[Attention, Tensor], T]
) -> Iterator[dict[str, list[T]]]:
    """Records what a function sees in every attention layer inside the block.

    Args:
        model: Any network.
        see: Is given a layer and its input.

    Yields:
        For each layer by name, in the order of their first use, one entry per forward pass.
    """
    record: dict[str, list[T]] = {}

    def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(layer: Any, inputs: tuple[Tensor, ...]) -> None:
            record.setdefault(name, []).append(see(layer, inputs[0]))

        return hook

    handles = [
        module.register_forward_pre_hook(recorder(name))
        for name, module in model.named_modules()
        if isinstance(module, Attention)
    ]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def gate_maps(layer: Attention, x: Tensor) -> GateMaps:
    """The gates that a layer has for a map.

    Args:
        layer: An attention layer.
        x: Feature map of shape (N, C, H, W).

    Returns:
        The gates, averaged over the channels.
    """
    gates = layer.gate(x)
    product = reduce(torch.mul, gates)  # broadcasts against (N, C, H, W)
    factor = product
    if layer.scale is not None:
        factor = 1 + layer.scale.to(product.dtype).view(1, -1, 1, 1) * product
    elif layer.residual:
        factor = 1 + product
    size = x.shape[2:]
    return GateMaps(
        tuple(_mean(gate) for gate in gates),
        _mean(product.expand(-1, -1, *size)),
        _mean(factor.expand(-1, -1, *size)),
    )


def _mean(gate: Tensor) -> np.ndarray:
    return gate.mean(1).float().cpu().numpy()
