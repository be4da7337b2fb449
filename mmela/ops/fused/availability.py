"""Whether the fused kernels can serve a map, and why not."""

from __future__ import annotations

import math
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from mmela.ops.fused.plan import Shape, unsupported
from mmela.ops.reference import ela_reference

#: Far above the rounding of float32, far below what a fault makes.
_TOLERANCE = 1e-3
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
    description = (
        x.device, conv_weight.device, x.dtype, x.shape, conv_weight.size(2), groups, num_groups
    )  # fmt: skip
    if not probe:
        return _first_fault(*description) or known_probe_fault(x.device.type, x.device.index)
    return _first_fault_kept(*description) or (_probe_fault(x.device) if x.is_cuda else None)


def _first_fault(
    device: torch.device,
    layer_device: torch.device,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    *layer: int,
) -> str | None:
    return (
        toolchain_fault()
        or device_fault(device.type, device.index)
        or (None if device == layer_device else f'the map is on {device}, the layer elsewhere')
        or _shape_fault(dtype, shape, *layer)
    )


_first_fault_kept = lru_cache(maxsize=4096)(_first_fault)  # compilers warn of a cache


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

#: What the probe found on each device that it has run on, and what lets one run at a time.
_probed: dict[torch.device, str | None] = {}
_probing = Lock()


def known_probe_fault(kind: str, index: int | None) -> str | None:
    """What an earlier probe of a device found, for compilers, which must not see one run."""
    return _probed.get(torch.device(kind, index))


known_probe_fault._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _probe_fault(device: torch.device) -> str | None:
    """What a first small map on a device says against the kernels, if anything.

    Triton builds its launcher with the machine's C compiler, which may be missing, and its code for
    a chip that nobody tried: better to learn that here, once, than from a training.
    """
    if device in _probed:
        return _probed[device]
    if device.type == 'cuda' and torch.cuda.is_current_stream_capturing():
        return None  # a graph must not hold the probe, nor break off for it
    with _probing:
        if device not in _probed:
            # Modes, hooks on saved tensors and autocast belong to a thread. The first map may come
            # under any of them, activation checkpointing included; a new thread is under none.
            with ThreadPoolExecutor(1) as thread:
                _probed[device] = thread.submit(_run_probe, device).result()
            if _probed[device] is not None:
                warnings.warn(
                    f'mmela: the fused kernels are not used: {_probed[device]}.', stacklevel=2
                )
    return _probed[device]


def _run_probe(device: torch.device) -> str | None:
    try:
        deviation = deviation_from_formula(device)
    except torch.cuda.OutOfMemoryError:
        raise  # it says nothing about the kernels
    except Exception as error:  # whatever it is, there is another implementation
        return f'Triton fails on {device} ({error})'
    if deviation < _TOLERANCE:
        return None
    return f'on {device} they are off the formula by {deviation:.1g}'


def deviation_from_formula(device: torch.device) -> float:
    """How far the kernels are from the float64 formula on a small map, by either path.

    Args:
        device: Where they run.

    Returns:
        The largest difference of the output and of all gradients, each relative to its largest
        value.
    """
    from mmela.ops.fused import launch
    from mmela.ops.fused.autograd import ela_fused

    shapes = ((2, 16, 12, 20), (16, 8, 5), (16,), (16,), (16,))
    options: dict[str, Any] = dict(groups=2, num_groups=4, residual=True)

    def results(function: Any, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
        # Waves and not noise: the person's random numbers stay as they are.
        waves = [
            torch.arange(math.prod(shape), dtype=torch.float64, device='cpu')
            .mul(0.7 + i)
            .sin()
            .view(shape)
            for i, shape in enumerate(shapes)
        ]
        leaves = [wave.to(device, dtype).requires_grad_() for wave in waves]
        out = function(*leaves, **options)
        grads = torch.autograd.grad((out * out).sum(), leaves)
        return [tensor.detach().cpu().double() for tensor in (out, *grads)]

    expected = results(ela_reference, torch.device('cpu'), torch.float64)
    forced, worst = launch.FORCED_PATH, 0.0
    try:
        for launch.FORCED_PATH in ('one', 'split'):
            for found, right in zip(
                results(ela_fused, device, torch.float32), expected, strict=True
            ):
                difference = (found - right).abs().max() / right.abs().max()
                worst = max(worst, float(difference.nan_to_num(nan=math.inf)))
    finally:
        launch.FORCED_PATH = forced
    return worst


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
