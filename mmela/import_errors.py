"""What to tell a person when a package cannot be imported: the cause, and what mends it."""

from __future__ import annotations

import re

import torch


def cause_of(error: Exception) -> str:
    """Kind and first line of an exception, such as ``'RuntimeError: compiled for another torch'``.

    Args:
        error: What an import raised.

    Returns:
        The cause, without a full stop.
    """
    text = str(error).strip()
    first_line = f': {text.splitlines()[0]}' if text else ''
    return f'{type(error).__name__}{first_line}'.rstrip('.')


def remedy_for(error: Exception, otherwise: str) -> str:
    """What mends a toolbox whose import failed, which is often another package.

    Args:
        error: What the import raised.
        otherwise: The remedy where nothing but the toolbox itself is known to be at fault.

    Returns:
        Half a sentence, without a full stop.
    """
    missing = (error.name or '').split('.')[0] if isinstance(error, ImportError) else ''
    # A torchvision that is there and does not fit torch raises whatever comes first: an operator
    # that does not exist, a version of CUDA, a module that is partially initialized.
    if missing == 'torchvision' or 'torchvision' in str(error):
        return f'install the torchvision that belongs to your torch: {torchvision_command()}'
    return otherwise


def torchvision_command() -> str:
    """The command that installs the torchvision for the torch that is running.

    pip finds it by torch's exact version. The index is that of torch's build: PyPI has builds for
    CPU alone on macOS and ARM only.
    """
    version, _, build = str(torch.__version__).partition('+')
    known = re.fullmatch(r'cpu|xpu|cu\d+|rocm[\d.]+', build)
    index = f' --index-url https://download.pytorch.org/whl/{build}' if known else ''
    return f'`pip install torch=={version} torchvision{index}`'
