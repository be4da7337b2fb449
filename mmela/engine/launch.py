"""torchrun for the tools: ``python -m mmela.engine.launch [torchrun's arguments]``.

It differs from torchrun in its exit alone. After a user error, which the processes have reported,
it exits with their status and no traceback; after any other failure torchrun reports as usual.
"""

from __future__ import annotations

import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from mmela.errors import USER_ERROR_STATUS


def main() -> None:
    """Runs the command line.

    Raises:
        SystemExit: With status 2 if that is how processes ended.
    """
    try:
        torchrun()
    except ChildFailedError as error:
        # The first failure is the cause: the other processes are ended because of it.
        if error.get_first_failure()[1].exitcode != USER_ERROR_STATUS:
            raise
        sys.exit(USER_ERROR_STATUS)


if __name__ == '__main__':
    main()
