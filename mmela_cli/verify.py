"""Check every file of the data sets of a config."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from mmela_cli import mmela_imports
from mmela_cli.arguments import add_config


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(prog, description=__doc__)
    add_config(parser, 'data_root=FOLDER')
    parser.add_argument(
        '--splits',
        nargs='+',
        choices=['train', 'val', 'test'],
        default=['train', 'val', 'test'],
        help='data sets to check (default: all)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=min(8, os.cpu_count() or 1),
        help='processes that read files; 0 reads them in this one (default: %(default)s)',
    )
    parser.add_argument('--json', metavar='FILE', help='also write the report as JSON')
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Runs the command.

    Returns:
        The exit status: 0 if there are only warnings, else 2.
    """
    args = build_parser(prog).parse_args(argv)
    with mmela_imports():
        from mmela import engine
        from mmela.commands.verify import verify
    with engine.exit_on_user_error():
        cfg = engine.load_config(args.config, args.cfg_options)
        verdict = verify(cfg, args.splits, args.workers)
        print(verdict)
        if args.json:
            verdict.write(args.json)
    return 2 if verdict.faults else 0
