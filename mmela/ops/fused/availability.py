"""Whether the fused kernels can serve a map, and why not."""

from __future__ import annotations

import os
import warnings
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from mmela.ops.fused.plan import Shape, unsupported

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def unavailable(
    x: Tensor, conv_weight: Tensor, groups: int, num_groups: int, *, probe: bool = True
) -> str | None:
    """Why the fused kernels cannot serve a map.

    Args:
        x: Feature map of shape (N, C, H, W).
        conv_weight: Weight of the layer's convolution, shape (C, C // groups, k).
        groups: Groups of the convolution.
        num_groups: Groups of the normalisation.
        probe: Whether a kernel may be launched to see that Triton works on the device. It happens
            once a process, and a compiler that traces the layer must not see it.

    Returns:
        Half a sentence, or None where they can.
    """
    device = x.device
    description = (
        device.type, device.index, x.dtype, tuple(x.shape), conv_weight.size(2), groups, num_groups
    )  # fmt: skip
    return _first_fault_probed(*description) if probe else _first_fault(*description)


def _first_fault(
    kind: str, index: int | None, dtype: torch.dtype, shape: tuple[int, ...], *layer: int
) -> str | None:
    return toolchain_fault() or device_fault(kind, index) or _shape_fault(dtype, shape, *layer)


@lru_cache(maxsize=4096)  # not for compilers, which warn of a cache
def _first_fault_probed(kind: str, index: int | None, *rest: Any) -> str | None:
    fault = _first_fault(kind, index, *rest)
    return fault or (_probe_fault(torch.device(kind, index)) if kind == 'cuda' else None)


def toolchain_fault() -> str | None:
    """What is missing from the installation."""
    if not hasattr(torch.library, 'custom_op'):
        return f'they need torch 2.4 or newer, and this is {torch.__version__}'
    try:
        import triton
    except Exception as error:  # a broken installation raises anything
        return f'Triton cannot be imported ({error}); pip install "triton>=3.2" brings it'
    if tuple(int(part) for part in triton.__version__.split('.')[:2]) < (3, 2):
        return f'they need Triton 3.2 or newer, and this is {triton.__version__}'
    return None


def device_fault(kind: str, index: int | None) -> str | None:
    """What speaks against a device."""
    if kind == 'cpu' and os.environ.get('TRITON_INTERPRET') == '1':
        return None  # how the kernels are tested where there is no GPU
    if kind != 'cuda':
        return f'they run on CUDA devices, and the map is on {kind}'
    if torch.version.cuda is None:
        return None  # AMD: Triton's own limits hold
    capability = torch.cuda.get_device_capability(index)
    if capability < (8, 0):
        return (
            f'they need compute capability 8.0 or higher, and {torch.cuda.get_device_name(index)} '
            f'has {capability[0]}.{capability[1]}'
        )
    return None


# What `torch.compiler.assume_constant_result` sets, at the price of importing the compiler: it asks
# once for the device's properties, which it could not trace.
device_fault._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _probe_fault(device: torch.device) -> str | None:
    """What Triton says to a first small launch on a device, if it fails.

    Triton builds its launcher with the machine's C compiler, which may be missing: better to learn
    that here, once, than in the first training step.
    """
    from mmela.ops.fused import launch

    try:
        x = torch.zeros(1, 1, 1, 1, device=device)
        launch.forward(x, x[0], x[0, 0, 0], x[0, 0, 0], None, 1, 1, False, 1e-5)
    except Exception as error:  # whatever it is, there is another implementation
        sentence = f'Triton fails on {device} ({error})'
        warnings.warn(f'mmela: the fused kernels are not used: {sentence}.', stacklevel=2)
        return sentence
    return None


def _shape_fault(
    dtype: torch.dtype, shape: tuple[int, ...], kernel_size: int, groups: int, num_groups: int
) -> str | None:
    if dtype not in _DTYPES:
        return f'they take float32, float16 and bfloat16, and the map is {str(dtype)[6:]}'
    images, channels, height, width = shape
    return unsupported(
        Shape(
            images, channels, height, width, dtype.itemsize, False, kernel_size, groups,
            num_groups, 1,
        )
    )  # fmt: skip
