"""What a check of a data set finds, and how it is reported before a run."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mmela.engine.log import log_once
from mmela.errors import UserError

_SHOWN = 5


class Finding(NamedTuple):
    """A fault, which stops a run, or something to warn of."""

    key: str  #: config key
    message: str  #: what is wrong and how to fix it, without the key
    is_fault: bool = True
    path: str = ''  #: the file, where there is one

    def __str__(self) -> str:
        return f'{self.key}: {self.message}'


def report(findings: Iterable[Finding]) -> None:
    """Warns of what may be meant and stops at what cannot be.

    Args:
        findings: Of any checks.

    Raises:
        UserError: If there is a fault; the message holds all of them.
    """
    found = list(dict.fromkeys(findings))
    for finding in found:
        if not finding.is_fault:
            log_once(str(finding), logging.WARNING)
    faults = [str(finding) for finding in found if finding.is_fault]
    if faults:
        raise UserError('\n'.join([*faults, 'If this is intended: --no-data-check.']))


def listed_with_count(
    items: Sequence[object], count: int | None = None, shown: int = _SHOWN
) -> str:
    """Some items separated by commas.

    Args:
        items: The items, or the first of them.
        count: How many there are in all.
        shown: How many are shown at most.

    Returns:
        The text, with the number of those that are left out.

    Examples:
        >>> listed_with_count(['a', 'b'])
        'a, b'
        >>> listed_with_count(['a', 'b'], count=9)
        'a, b and 7 more'
    """
    rest = (len(items) if count is None else count) - min(shown, len(items))
    return ', '.join(map(str, items[:shown])) + (f' and {rest} more' if rest > 0 else '')
