"""Argument checks shared by the attentions."""

from __future__ import annotations

import operator
import warnings
from functools import cache
from typing import Any

import numpy as np

from mmela.errors import ConfigError


def check_count(name: str, value: Any) -> int:
    """Checks that an argument is an integer of at least 1.

    Args:
        name: Name of the argument, for the message.
        value: Its value: any integer type, NumPy's included, but no bool.

    Returns:
        The value as an int.

    Raises:
        ConfigError: If it is anything else.
    """
    try:
        count = 0 if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        count = 0
    if count < 1:
        raise ConfigError(f'{name}: expected an integer of at least 1, got {value!r}.')
    return count


def check_kernel_size(value: Any) -> int:
    """Checks that a kernel size is a positive odd integer.

    Args:
        value: The kernel size.

    Returns:
        The kernel size as an int.

    Raises:
        ConfigError: If it is anything else.
    """
    size = check_count('kernel_size', value)
    if size % 2 == 0:
        raise ConfigError(
            f'kernel_size: expected an odd number, so that gates are as long as axes, got {size}.'
        )
    return size


def check_flag(name: str, value: Any) -> None:
    """Checks that an argument is True or False.

    Args:
        name: Name of the argument, for the message.
        value: Its value.

    Raises:
        ConfigError: If it is anything else.
    """
    if not isinstance(value, bool):
        raise ConfigError(f'{name}: expected True or False, got {value!r}.')


def divisor(owner: str, name: str, count: int, channels: int, strict: bool = False) -> int:
    """The largest divisor of a width that is at most ``count``, and at least 1.

    Args:
        owner: The layer, for messages, such as ``'ELA(144)'``.
        name: Name of the argument, for messages.
        count: The requested count; 0 for a width narrower than one group.
        channels: The width.
        strict: Whether a count that does not divide the width is an error. Otherwise the divisor
            is used and a warning is logged once.

    Returns:
        The divisor.

    Raises:
        ConfigError: If ``strict`` and the count does not divide the width.
    """
    if count and channels % count == 0:
        return count
    found = next((d for d in range(min(count, channels), 0, -1) if channels % d == 0), 1)
    problem = f'{owner}: {name}={count} does not divide {channels} channels'
    if strict:
        raise ConfigError(f'{problem}; set {name}={found}, or strict=False to use it.')
    warn_once(f'{problem}; using {name}={found} instead.')
    return found


@cache
def warn_once(message: str) -> None:
    """Warns of each message once per process: a network holds the same layer many times."""
    warnings.warn(message, stacklevel=4)
