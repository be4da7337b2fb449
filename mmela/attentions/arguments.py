"""Checks of arguments that the attentions share."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

from mmela.errors import ConfigError


def check_count(name: str, value: Any) -> None:
    """Refuses what is no whole number of at least 1.

    Args:
        name: The argument, for the message.
        value: What was given.

    Raises:
        ConfigError: If it is refused.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f'{name} must be a whole number of at least 1, and {value!r} was given.')


def check_kernel_size(value: Any) -> None:
    """Refuses a kernel size that is no odd number.

    Args:
        value: What was given.

    Raises:
        ConfigError: If it is refused.
    """
    check_count('kernel_size', value)
    if value % 2 == 0:
        raise ConfigError(
            f'kernel_size must be odd, so that a gate is as long as its axis, and {value} was '
            'given.'
        )


def check_flag(name: str, value: Any) -> None:
    """Refuses what is neither True nor False.

    Args:
        name: The argument, for the message.
        value: What was given.

    Raises:
        ConfigError: If it is refused.
    """
    if not isinstance(value, bool):
        raise ConfigError(f'{name} must be True or False, and {value!r} was given.')


def divisor(owner: str, name: str, count: int, channels: int, strict: bool = False) -> int:
    """The largest divisor of a width that is at most some count, and at least 1.

    Args:
        owner: The layer, for messages, such as ``'ELA(144)'``.
        name: The argument that counts, for messages.
        count: What was asked for; 0 where a width is narrower than one group.
        channels: The width.
        strict: Whether a count that does not divide is an error. Otherwise a warning says once
            which divisor is taken.

    Returns:
        The divisor.

    Raises:
        ConfigError: If ``strict`` and the count does not divide.
    """
    if count and channels % count == 0:
        return count
    found = next((d for d in range(min(count, channels), 0, -1) if channels % d == 0), 1)
    if strict:
        raise ConfigError(
            f'{owner}: {name}={count} does not divide {channels} channels; {name}={found} does, '
            'or strict=False takes it by itself.'
        )
    warn_once(
        f'{owner}: {name}={count} does not divide {channels} channels; {name}={found} is used '
        'instead.'
    )
    return found


@cache
def warn_once(message: str) -> None:
    """Warns of each message once a process: a network holds the same layer many times."""
    warnings.warn(message, stacklevel=4)
