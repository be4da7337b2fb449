"""Messages before the runner has its logger."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from mmengine.logging import print_log


def log_once(message: str, level: int = logging.INFO) -> None:
    """Logs a message in the first process of a machine alone.

    Args:
        message: One line.
        level: A level of :mod:`logging`, such as ``logging.WARNING``.
    """
    if int(os.environ.get('LOCAL_RANK', 0)) == 0:
        print_log(message, logger='current', level=level)


@contextmanager
def without_onedl_notice() -> Iterator[None]:
    """Suppresses the notice that OneDL's own data sets are not installed.

    The maintained toolboxes print it on stdout when they are imported, whatever the level of
    logging. Other lines appear at the end of the block.
    """
    with redirect_stdout(io.StringIO()) as output:
        try:
            yield
        finally:
            lines = output.getvalue().splitlines()
    for line in lines:
        if not line.startswith('Could not import OneDL'):
            print(line)
