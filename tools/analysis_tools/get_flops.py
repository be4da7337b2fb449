"""Print parameters and FLOPs of configs with their attention and without, side by side."""

import argparse
import sys
from contextlib import redirect_stdout

from mmela import engine
from mmela.analysis.complexity import measure
from mmela.analysis.complexity_table import FORMATS, format_table, uncounted_notes


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'configs', nargs='+', metavar='CONFIG', help='config files, or names such as mmdet::...'
    )
    parser.add_argument(
        '--shape',
        nargs='+',
        type=int,
        metavar='SIDE',
        help='height and width of the input, or one side of a square; default: what each config '
        'tests at',
    )
    parser.add_argument('--format', choices=FORMATS, default='text')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='override settings of every config: model.backbone.plugins.0.cfg.variant=B',
    )
    args = parser.parse_args()
    if args.shape is not None:
        if len(args.shape) > 2 or min(args.shape) < 1:
            parser.error('argument --shape: give a height and a width, or one side of a square')
        args.shape = (args.shape[0], args.shape[-1])
    return args


def main() -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error.
    """
    args = parse_args()
    # Messages of MMEngine and the toolboxes must not get into JSON or Markdown.
    with engine.exit_on_user_error(), redirect_stdout(sys.stderr):
        results = {
            path: measure(engine.load_config(path, args.cfg_options), args.shape)
            for path in args.configs
        }
    print(format_table(results, args.format))
    for note in uncounted_notes(results):
        print(f'note: {note}', file=sys.stderr)
    return 0


if __name__ == '__main__':
    sys.exit(main())
