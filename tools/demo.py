"""Give ELA to two trained networks and fine-tune them; two CPU cores are enough."""

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Runs the demo.

    Returns:
        The exit status; 2 if a step failed.
    """
    argparse.ArgumentParser(description=__doc__).parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `demo/` lies in the checkout
    from demo import run_demo
    from mmela import engine

    with engine.exit_on_user_error():
        run_demo(Path(__file__).resolve().parents[1])
    return 0


if __name__ == '__main__':
    sys.exit(main())
