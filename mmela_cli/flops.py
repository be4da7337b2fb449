"""Print parameters and FLOPs of configs with and without their attention."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from mmela_cli import mmela_imports
from mmela_cli.arguments import add_shape, shape_of


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(prog, description=__doc__)
    parser.add_argument(
        'configs', nargs='+', metavar='CONFIG', help='config files, or names such as mmdet::...'
    )
    add_shape(parser)
    parser.add_argument('--format', choices=['text', 'markdown', 'json'], default='text')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='override settings of every config: model.backbone.plugins.0.cfg.variant=B',
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error.
    """
    parser = build_parser(prog)
    args = parser.parse_args(argv)
    shape = shape_of(parser, args)
    with mmela_imports():
        from mmela import engine
        from mmela.analysis.complexity import measure
        from mmela.analysis.complexity_table import format_table, uncounted_notes
    # Output of MMEngine and the toolboxes must not get into JSON or Markdown.
    with engine.exit_on_user_error(), redirect_stdout(sys.stderr):
        results = {
            path: measure(engine.load_config(path, args.cfg_options), shape)
            for path in args.configs
        }
    print(format_table(results, args.format))
    for note in uncounted_notes(results):
        print(f'note: {note}', file=sys.stderr)
    return 0
