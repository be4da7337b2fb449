"""How mmela answers a person's mistake: one sentence that names it and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """A mistake in a config or an argument; the message is a whole sentence for its author.

    The command line tools print the message alone and exit with status 2. Anything else that
    escapes from mmela is a bug of ours and keeps its traceback.
    """


def did_you_mean(name: object, choices: Iterable[str]) -> str:
    """A closing half-sentence that offers the nearest of some names.

    Args:
        name: What was written.
        choices: What could have been meant.

    Returns:
        ``"; did you mean 'X'?"``, or ``'.'`` where nothing is near.

    Examples:
        >>> did_you_mean('after_conf2', ['after_conv1', 'after_conv2'])
        "; did you mean 'after_conv2'?"
        >>> did_you_mean('neck', ['after_stage'])
        '.'
    """
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1)
    return f"; did you mean '{by_lower[near[0]]}'?" if near else '.'
