"""Launches that repeat one, past the part of Triton that looks for the compiled kernel.

``kernel[grid](...)`` binds its arguments by name, describes each in words and looks up what it has
compiled for the description: 20 to 40 microseconds a launch, more than a small map needs on the
device. What it returns, the compiled kernel, can be launched by itself. So the first launch goes
the usual way and leaves the compiled kernel behind, under everything that Triton specialises on
and that may differ between calls of one :class:`Launch`: see :func:`traits`. Sizes and constants
do not. What a process changes in Triton's settings later is not seen; its launch hooks are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
import triton
from torch import Tensor
from triton.compiler import CompiledKernel

#: The versions of Triton whose compiled kernels are known to take all arguments of the kernel in
#: their order, the constants included (3.2 leaves these out). The others launch the usual way.
KNOWN_VERSIONS = ((3, 3), (3, 9))
_VERSION = tuple(int(part) for part in triton.__version__.split('.')[:2])
#: AMD's compiler also looks at the size of a tensor's memory, which is no part of the traits.
REPEATS = KNOWN_VERSIONS[0] <= _VERSION <= KNOWN_VERSIONS[1] and torch.version.hip is None


@dataclass(frozen=True)
class Launch:
    """One launch.

    Attributes:
        grid: Programs.
        sizes: The arguments behind the tensors that follow from the shape.
        constants: Compile-time constants and options of the compiler.
        compiled: By their traits, what launches with arguments like earlier ones, and the constants
            in the kernel's order.
    """

    grid: tuple[int, int, int]
    sizes: tuple[int, ...]
    constants: dict[str, Any]
    compiled: dict[Hashable, tuple[Callable[..., None], tuple[Any, ...]]] = field(
        default_factory=dict
    )


def traits(x: Tensor, *others: Tensor | None) -> Hashable:
    """What a compiled kernel depends on in tensors that come from elsewhere.

    That is the device, and of each whether it is there, its dtype, and whether its address is a
    multiple of 16 bytes. Tensors that are made for a launch need no look: their dtypes follow from
    these, and PyTorch's allocators begin at such an address.

    Args:
        x: The map.
        *others: Always in the same order.
    """
    tensors = (x, *others)
    return (
        x.get_device(),
        *[None if t is None else t.dtype for t in tensors],
        *[t is None or t.data_ptr() % 16 == 0 for t in tensors],
    )


def run(kernel: Any, launch: Launch, known: Hashable, *arguments: Any) -> None:
    """Launches on the current device and stream.

    Args:
        kernel: Always the same for one launch.
        launch: See there.
        known: The :func:`traits` of the tensors that the arguments come from.
        arguments: Of the kernel, in its order, up to the constants. Those that are not tensors
            have the same type at each call, and integers the same value.
    """
    found = launch.compiled.get(known)
    if found is not None:
        again, constants = found
        again(*arguments, *constants)
        return
    compiled = kernel[launch.grid](*arguments, **launch.constants)
    # The interpreter returns None, and compilation in the background something else.
    if REPEATS and isinstance(compiled, CompiledKernel):
        names = kernel.arg_names[len(arguments) :]
        constants = tuple(launch.constants[name] for name in names)
        launch.compiled[known] = compiled[launch.grid], constants
