"""torchrun for the tools: ``python -m mmela.engine.launch [torchrun's arguments]``.

It differs from torchrun in two things. After a user error or a signal, which the processes have
reported, it exits with their status and no traceback; after any other failure torchrun reports as
usual. And it passes SIGUSR1 on, by which Slurm announces the end of a job.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from mmela.errors import USER_ERROR_STATUS

_SIGNAL_STATUSES = {128 + getattr(signal, name, 0) for name in ('SIGTERM', 'SIGINT', 'SIGUSR1')}


def main() -> None:
    """Runs the command line.

    Raises:
        SystemExit: With the processes' status after a user error, with 128 plus its number after a
            signal.
    """
    if hasattr(signal, 'SIGUSR1'):
        signal.signal(signal.SIGUSR1, _pass_on)
    try:
        torchrun()
    except SignalException as error:
        sys.exit(128 + error.sigval)
    except ChildFailedError as error:
        # The first failure is the cause: the other processes are ended because of it.
        status = error.get_first_failure()[1].exitcode
        if status not in {USER_ERROR_STATUS, *_SIGNAL_STATUSES}:
            raise
        sys.exit(status)


def _pass_on(signum: int, frame: Any) -> None:
    """Sends a signal to the processes of this machine; Linux alone says which they are."""
    for children in Path('/proc/self/task').glob('*/children'):
        for child in children.read_text().split():
            os.kill(int(child), signum)


if __name__ == '__main__':
    main()
