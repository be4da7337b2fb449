"""Convert a YOLOX checkpoint of Megvii (Megvii-BaseDetection/YOLOX) for MMDetection.

yolox_nano.pth, yolox_tiny.pth, yolox_s.pth to yolox_x.pth of their releases, or one of your own
training with their code. YOLOX-Darknet53 has no counterpart in MMDetection.
"""

import argparse
import sys

from convert_yolox import convert_yolox

from mmela import engine


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help="checkpoint of Megvii's YOLOX")
    parser.add_argument('out', help='the file to write')
    parser.add_argument('--classes', metavar='FILE', help='names of the classes, one a line')
    parser.add_argument('--overwrite', action='store_true', help='replace OUT if it is there')
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
        print(
            convert_yolox(
                args.source,
                args.out,
                from_ela_code=False,
                classes_file=args.classes,
                overwrite=args.overwrite,
                trust=args.trust_checkpoint,
            )
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
