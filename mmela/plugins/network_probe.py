"""What the modules of a network return, found by running it once on zeros."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from mmela.errors import ConfigError

#: Height and width of the zeros. They differ, so that a map shows which axes are height and width.
PROBE_SIZE = (64, 96)
#: Of the same ratio, for networks that reject small maps, such as MMPreTrain's Swin.
_LARGE_PROBE_SIZE = (256, 384)
#: Fusing and SyncBN conversion replace these, and what is attached to them is lost.
REPLACEABLE = (_NormBase, nn.GroupNorm, nn.LayerNorm, _ConvNd)
_NAMES_SHOWN = 8


class ProbedRun:
    """What a network and its modules returned in one run."""

    def __init__(self, outputs: Any, by_module: dict[str, list[Any]], network: nn.Module) -> None:
        self.outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        self.by_module = by_module
        self._network = network

    def places(self) -> list[str]:
        """The positions that have a map, those of the largest parts first."""
        names = [
            name
            for name, outs in self.by_module.items()
            if all(is_map(out) for out in outs)
            and not isinstance(self._network.get_submodule(name), REPLACEABLE)
        ]
        names.sort(key=lambda name: name.count('.'))
        return ['outputs'] * self._has_places_at_outputs() + names

    def _has_places_at_outputs(self) -> bool:
        return all(is_map(out) for out in self.outputs) and (
            count_training_outputs(self._network) in (None, len(self.outputs))
        )


def probe(network: nn.Module, owner: str) -> ProbedRun:
    """Runs a network once on zeros and notes what every module returns."""
    returned: dict[str, list[Any]] = {}
    handles = [
        module.register_forward_hook(
            lambda module, args, out, name=name: returned.setdefault(name, []).append(out)
        )
        for name, module in network.named_modules()
        if name
    ]
    try:
        with _at_rest(network):
            return ProbedRun(_run_on_zeros(network, owner, returned.clear), returned, network)
    finally:
        for handle in handles:
            handle.remove()


def count_training_outputs(network: nn.Module) -> int | None:
    """The number of outputs in training mode, in which some networks return more.

    Args:
        network: The network; a copy of it runs, so that its statistics stay as they are.

    Returns:
        The number; None for a network that cannot be run on zeros in training mode.
    """
    copied = deepcopy(network)
    copied.train()  # whose result is None in some networks
    with torch.random.fork_rng(devices=[]):
        try:
            # batch normalization takes no statistics of a single pixel
            outputs = _run_on_zeros(copied, '', lambda: None, batch_size=2)
        except ConfigError:
            return None
    return len(outputs) if isinstance(outputs, (list, tuple)) else 1


def _run_on_zeros(
    network: Any, owner: str, before_run: Callable[[], Any], batch_size: int = 1
) -> Any:
    """Runs a network on the first of several inputs that it takes."""
    errors = []
    for size in (PROBE_SIZE, _LARGE_PROBE_SIZE):
        for value in _inputs(network, size, batch_size):
            before_run()
            try:
                with torch.no_grad():
                    return network(value)
            except Exception as error:  # whatever a network raises that takes something else
                errors.append(error)
    (height, width), (tall, wide) = PROBE_SIZE, _LARGE_PROBE_SIZE
    raise ConfigError(
        f'{owner} cannot be run on zeros of {height} x {width} or {tall} x {wide} pixels to find '
        f'the widths of its maps ({type(errors[0]).__name__}: {errors[0]}); use a network that '
        'takes images or a list of maps.'
    )


def _inputs(network: Any, size: tuple[int, int], batch_size: int) -> list[Any]:
    """What a network may take: images, maps of several widths, or one map."""
    tensor = next(network.parameters(), torch.empty(0))
    widths = getattr(network, 'in_channels', 3)
    height, width = size

    def zeros(channels: int, shrink: int) -> Tensor:
        return tensor.new_zeros(batch_size, channels, height // shrink, width // shrink)

    if isinstance(widths, (list, tuple)):  # a neck: one map for each width, each half as large
        return [tuple(zeros(c, 2**i) for i, c in enumerate(widths))]
    # images; else a neck of one map, which some take in a tuple
    return [zeros(3, 1), zeros(widths, 1), (zeros(widths, 1),)]


@contextmanager
def _at_rest(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block, random numbers untouched by it."""
    modes = {module: module.training for module in network.modules()}
    with torch.random.fork_rng(devices=[]):
        try:
            network.eval()
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


def is_map(out: Any) -> bool:
    """Whether something is a map of shape (N, C, H, W), by the ratio of its sides."""
    if not isinstance(out, Tensor) or out.dim() != 4:
        return False
    height, width = out.shape[2:]
    ratio = PROBE_SIZE[0] / PROBE_SIZE[1]
    return abs(height - ratio * width) < 1 and height < width


def listed(names: Sequence[str]) -> str:
    """The first names of some, for messages."""
    shown = ', '.join(names[:_NAMES_SHOWN])
    return (f'{shown}, ...' if len(names) > _NAMES_SHOWN else shown) or 'none'


def described(out: Any) -> str:
    """What a module returned, in words, for messages."""
    if isinstance(out, Tensor):
        return f'a tensor of shape {tuple(out.shape)}'
    if isinstance(out, (list, tuple)):
        return f'({", ".join(described(item) for item in out)})'
    return type(out).__name__
