"""Convert a YOLOX checkpoint of Megvii (Megvii-BaseDetection/YOLOX) for MMDetection.

yolox_nano.pth, yolox_tiny.pth, yolox_s.pth to yolox_x.pth of their releases, or a checkpoint you
trained with their code. YOLOX-Darknet53 has no counterpart in MMDetection.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tools/

from tool_imports import mmela_imports  # noqa: E402

with mmela_imports():
    from convert_yolox import convert_yolox

    from mmela import engine


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help="checkpoint of Megvii's YOLOX")
    parser.add_argument('out', help='the file to write')
    parser.add_argument('--classes', metavar='FILE', help='text file of class names, one per line')
    parser.add_argument('--overwrite', action='store_true', help='replace OUT if it exists')
    return parser.parse_args()


def main() -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error.
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
            )
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
