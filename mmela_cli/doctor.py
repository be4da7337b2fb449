"""Check the environment: one line for each part, with the command that fixes a problem."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmela_cli import mmela_imports


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Runs the command.

    Returns:
        The exit status; 2 if there is a problem.
    """
    argparse.ArgumentParser(prog, description=__doc__).parse_args(argv)
    with mmela_imports():
        from mmela.commands.doctor import diagnose
    problems = 0
    for finding in diagnose():
        print(finding, flush=True)
        problems += not finding.is_ok
    return 2 if problems else 0
