"""The device of a measurement and the versions of the packages."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch

from mmela.errors import UserError

DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}
_PACKAGES = ('torch', 'triton', 'timm')


class Machine(NamedTuple):
    """What every result is recorded with.

    Attributes:
        device: Name of the processor.
        threads: Number of CPU threads of PyTorch.
        versions: Of the packages, such as ``'torch 2.9.1, timm 1.0.22'``.
    """

    device: str
    threads: int
    versions: str

    @property
    def slug(self) -> str:
        """The device as a part of a file name, such as ``'nvidia-h200'``."""
        name = re.sub(r'\((r|tm)\)|\d+-core|processor|cpu', ' ', self.device.lower())
        return '-'.join(re.findall(r'[a-z0-9.]+', name)) or 'cpu'


def use_device(name: str | None = None, threads: int | None = None) -> torch.device:
    """Selects the device to measure on.

    Args:
        name: Such as ``'cpu'`` or ``'cuda:1'``; None takes a GPU if there is one.
        threads: CPU threads of PyTorch; None keeps the current number.

    Returns:
        The device; a GPU is made the current one.

    Raises:
        UserError: If the device does not exist or is neither a CPU nor a CUDA device.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    name = name or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ('cpu', 'cuda'):
        raise UserError(f"--device: expected 'cpu', 'cuda' or 'cuda:1', got '{name}'.")
    if device.type == 'cuda':
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UserError(
                f'--device {name} is not available: PyTorch sees {count or "no"} GPU(s); '
                'use --device cpu.'
            )
        device = torch.device('cuda', device.index or 0)
        torch.cuda.set_device(device)
    return device


def use_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """The dtype by name; without one bfloat16 on a GPU and float32 on the CPU."""
    if name is None:
        name = 'bfloat16' if device.type == 'cuda' else 'float32'
    return DTYPES[name]


def describe(device: torch.device) -> Machine:
    """Collects the name of a device and the package versions.

    Args:
        device: From :func:`use_device`.
    """
    if device.type == 'cuda':
        name = torch.cuda.get_device_name(device)
    else:
        name = _cpu_name()
    return Machine(name, torch.get_num_threads(), ', '.join(filter(None, map(_version, _PACKAGES))))


def _cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    found = re.search(r'model name\s*:\s*(.+)', info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return f'{package} {torch.__version__ if package == "torch" else version(package)}'
    except PackageNotFoundError:
        return ''
