"""Add ELA to two trained networks and fine-tune them; two CPU cores are enough."""

import argparse
import sys

from tool_imports import ROOT, mmela_imports


def main() -> int:
    """Runs the demo.

    Returns:
        The exit status; 2 if a step failed.
    """
    argparse.ArgumentParser(description=__doc__).parse_args()
    with mmela_imports(checkout=True):
        from demo import run_demo
        from mmela import engine
    with engine.exit_on_user_error():
        run_demo(ROOT)
    return 0


if __name__ == '__main__':
    sys.exit(main())
