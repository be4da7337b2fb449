"""Lines on screen before the runner has its logger."""

from __future__ import annotations

import logging
import os

from mmengine.logging import print_log


def tell(message: str, warning: bool = False) -> None:
    """Says something once a machine.

    Args:
        message: One line.
        warning: Whether it should stand out.
    """
    if int(os.environ.get('LOCAL_RANK', 0)) == 0:
        print_log(message, logger='current', level=logging.WARNING if warning else logging.INFO)
