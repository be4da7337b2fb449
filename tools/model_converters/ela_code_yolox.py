"""Convert a YOLOX checkpoint of the authors of ELA (Xuwei86/ELA_Code) for MMDetection.

With or without attention: logs/ELA72/best_epoch_weights.pth and model_data/yolox_nano.pth.
See docs/authors_checkpoint.md for the commands before and after.
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
    parser.add_argument('source', help="checkpoint of the authors' YOLOX")
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
                from_ela_code=True,
                classes_file=args.classes,
                overwrite=args.overwrite,
            )
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
