"""Compile the Triton kernels for GPUs that need not be there; list registers and spills."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tool_imports import mmela_imports  # noqa: E402

with mmela_imports(checkout=True):
    from benchmarks.kernel_resources import CAPABILITIES, DTYPES, HEADER, compile_kernels
    from mmela import engine


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', metavar='CSV', help='file to write; default: the terminal')
    parser.add_argument(
        '--capability',
        nargs='+',
        type=int,
        choices=CAPABILITIES,
        default=list(CAPABILITIES),
        help='compute capabilities, 80 for 8.0; default: all',
    )
    parser.add_argument('--dtype', nargs='+', choices=DTYPES, default=list(DTYPES))
    return parser.parse_args()


def main() -> int:
    """Runs the command.

    Returns:
        The exit status: 1 if a kernel spills registers, 2 for a user error.
    """
    args = parse_args()
    with engine.exit_on_user_error():
        rows = list(compile_kernels(tuple(args.dtype), tuple(args.capability)))
        try:
            target = open(args.out, 'w', newline='') if args.out else sys.stdout
        except OSError as error:
            raise engine.UserError(f'--out {args.out}: {error.strerror}.') from error
    with target:
        writer = csv.writer(target, lineterminator='\n')
        writer.writerow(HEADER)
        writer.writerows(rows)
    spills = sum(row.spill_bytes > 0 for row in rows)
    if spills:
        print(f'{spills} of {len(rows)} kernels spill registers', file=sys.stderr)
    return int(spills > 0)


if __name__ == '__main__':
    sys.exit(main())
