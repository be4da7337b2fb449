"""Compile the fused kernels for GPUs that need not be there, and list what they take."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tools/

from tool_imports import mmela_imports  # noqa: E402

with mmela_imports(checkout=True):
    from benchmarks.kernel_resources import DTYPES, PROCESSORS, Row, compile_kernels
    from mmela import engine


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--out', metavar='CSV', help='file or folder to write to; default: the terminal'
    )
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
    with engine.exit_on_user_error(), _open(args.out) as target:
        writer = csv.writer(target, lineterminator='\n')
        writer.writerow(Row._fields)
        for row in compile_kernels(dtypes=tuple(args.dtype), capabilities=tuple(args.capability)):
            writer.writerow(row)
            spills += row.spill_bytes > 0
    if spills:
        print(f'{spills} kernels spill registers', file=sys.stderr)
    return int(spills > 0)


@contextmanager
def _open(out: str | None) -> Iterator[TextIO]:
    """The terminal, or a file that takes the place of an older one when it is complete."""
    if out is None:
        yield sys.stdout
        return
    path = Path(out, 'kernels.csv') if Path(out).is_dir() else Path(out)
    part = path.with_name(f'{path.name}.part')
    try:
        file = part.open('w', newline='')
    except OSError as error:
        raise engine.UserError(f'--out {out} cannot be written: {error.strerror}.') from error
    try:
        with file:
            yield file
    except Exception:  # whoever interrupts a run keeps what was compiled
        part.unlink()
        raise
    part.replace(path)


if __name__ == '__main__':
    sys.exit(main())
