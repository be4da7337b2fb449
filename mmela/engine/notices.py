"""Lines on screen before the runner has its logger, and one that nobody needs."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from mmengine.logging import print_log


def tell(message: str, warning: bool = False) -> None:
    """Says something once a machine.

    Args:
        message: One line.
        warning: Whether it should stand out.
    """
    if int(os.environ.get('LOCAL_RANK', 0)) == 0:
        print_log(message, logger='current', level=logging.WARNING if warning else logging.INFO)


@contextmanager
def without_onedl_notice() -> Iterator[None]:
    """Imports inside the block do not say that OneDL's own data sets are not installed.

    The maintained toolboxes print it on stdout, whatever the level of logging. Other lines appear
    at the end of the block.
    """
    with redirect_stdout(io.StringIO()) as output:
        try:
            yield
        finally:
            said = output.getvalue().splitlines()
    for line in said:
        if not line.startswith('Could not import OneDL'):
            print(line)
