"""Look at every file of the data sets of a config; exit status 2 where a fault is found."""

import argparse
import os
import sys


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or a name such as mmdet::yolox/...')
    parser.add_argument(
        '--splits',
        nargs='+',
        choices=['train', 'val', 'test'],
        default=['train', 'val', 'test'],
        help='which data sets to look at (default: all)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=min(8, os.cpu_count() or 1),
        help='processes that read files; 0 reads them in this one (default: %(default)s)',
    )
    parser.add_argument('--json', metavar='FILE', help='also write the report as JSON')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='override settings, such as data_root=FOLDER',
    )
    return parser.parse_args()


def main() -> int:
    """Runs the command.

    Returns:
        The exit status: 0 where nothing but warnings was found, 2 otherwise.
    """
    args = parse_args()
    from mmela import engine
    from mmela.commands.verify import verify

    with engine.exit_on_user_error():
        cfg = engine.load_config(args.config, args.cfg_options)
        verdict = verify(cfg, args.splits, args.workers)
        print(verdict)
        if args.json:
            verdict.write(args.json)
    return 2 if verdict.faults else 0


if __name__ == '__main__':
    sys.exit(main())
