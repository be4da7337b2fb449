"""The device of a measurement and the versions that belong to it."""

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
    """What stands beside every figure.

    Attributes:
        device: The processor's own name.
        threads: That PyTorch uses on the CPU.
        versions: Of the packages that matter, such as ``'torch 2.9.1, timm 1.0.22'``.
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
    """The device to measure on.

    Args:
        name: Such as ``'cpu'`` or ``'cuda:1'``; None takes a GPU where there is one.
        threads: For PyTorch on the CPU; None leaves them.

    Returns:
        The device, current if it is a GPU.

    Raises:
        UserError: If it is not there, or is of another kind.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    name = name or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name} is no device: give 'cpu', 'cuda' or 'cuda:1'.") from None
    if device.type not in ('cpu', 'cuda'):
        raise UserError(f'measurements run on cpu or cuda, and --device {name} was asked for.')
    if device.type == 'cuda':
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            there = f'PyTorch sees {count}' if count else 'PyTorch sees no GPU here'
            raise UserError(f'--device {name} cannot be had: {there}; --device cpu needs none.')
        device = torch.device('cuda', device.index or 0)
        torch.cuda.set_device(device)
    return device


def use_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """The dtype to measure in: bfloat16 on a GPU and float32 on the CPU, unless one is named."""
    if name is None:
        name = 'bfloat16' if device.type == 'cuda' else 'float32'
    return DTYPES[name]


def describe(device: torch.device) -> Machine:
    """Names a device and the versions of what runs on it.

    Args:
        device: Of :func:`use_device`.
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
