"""Keep the weights of a training checkpoint and drop the rest, to hand them out."""

import argparse
import sys

from publish import publish

from mmela import engine


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='checkpoint of a training')
    parser.add_argument('out', help='the file to write')
    parser.add_argument('--half', action='store_true', help='store the kernels in float16')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='run the code that the checkpoint may hold; only if you trust its author',
    )
    return parser.parse_args()


def main() -> int:
    """Runs the command.

    Returns:
        The exit status; 2 for a mistake in what was asked for.
    """
    args = parse_args()
    with engine.exit_on_user_error():
        size = publish(args.checkpoint, args.out, args.half, args.trust_checkpoint)
        print(f'{args.out}: {size / 1e6:.1f} MB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
