"""Generate the data set of the demo, as COCO and as PASCAL VOC segmentation."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tools/

from tool_imports import mmela_imports  # noqa: E402

with mmela_imports(checkout=True):
    from demo.dataset import generate


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', help='folder to create, such as data/shapes')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument('--train', type=int, default=800, help='scenes; default: %(default)s')
    parser.add_argument('--val', type=int, default=200, help='scenes; default: %(default)s')
    parser.add_argument('--size', type=int, default=192, help='pixels; default: %(default)s')
    return parser.parse_args()


def main() -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error.
    """
    args = parse_args()
    try:
        root = generate(args.out, args.seed, args.train, args.val, args.size)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(
        f'{root}: {args.train} training and {args.val} validation scenes, '
        f'{args.size} px, seed {args.seed}'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
