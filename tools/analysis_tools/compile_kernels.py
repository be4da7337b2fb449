"""Compile the fused kernels for GPUs that need not be there, and list what they take."""

import argparse
import csv
import sys

from mmela import runtime
from mmela.runtime.kernel_resources import DTYPES, PROCESSORS, Row, compile_kernels


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', metavar='CSV', help='file to write; default: the terminal')
    parser.add_argument(
        '--capability',
        nargs='+',
        type=int,
        choices=PROCESSORS,
        default=list(PROCESSORS),
        help='compute capabilities, 80 for 8.0; default: all',
    )
    parser.add_argument('--dtype', nargs='+', choices=DTYPES, default=list(DTYPES))
    return parser.parse_args()


def main() -> int:
    """Runs the command.

    Returns:
        The exit status: 1 where a kernel spills registers, 2 for a mistake in what was asked for.
    """
    args = parse_args()
    spills = 0
    with runtime.exit_on_user_error():
        rows = compile_kernels(dtypes=tuple(args.dtype), capabilities=tuple(args.capability))
        target = open(args.out, 'w', newline='') if args.out else sys.stdout
        with target:
            writer = csv.writer(target, lineterminator='\n')
            writer.writerow(Row._fields)
            for row in rows:
                writer.writerow(row)
                spills += row.spill_bytes > 0
    if spills:
        print(f'{spills} kernels spill registers', file=sys.stderr)
    return int(spills > 0)


if __name__ == '__main__':
    sys.exit(main())
