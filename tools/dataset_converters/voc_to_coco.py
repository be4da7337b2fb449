"""Convert PASCAL VOC detection annotations (XML) to COCO annotations (JSON)."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tools/

from tool_imports import mmela_imports  # noqa: E402

with mmela_imports():
    from mmela import engine


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'source',
        help='VOCdevkit with VOC2007, VOC2012 or both, or a folder with Annotations, '
        'ImageSets/Main and JPEGImages',
    )
    parser.add_argument('-o', '--out-dir', help='default: annotations in the source')
    parser.add_argument(
        '--classes', nargs='+', metavar='NAME', help='your own classes; default: the 20 of VOC'
    )
    return parser.parse_args()


def main() -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error.
    """
    args = parse_args()
    with engine.exit_on_user_error():
        from pascal_voc import voc_to_coco

        for file in voc_to_coco(args.source, args.out_dir, args.classes):
            difficult = f', {file.difficult} of them difficult' if file.difficult else ''
            print(f'{file.path}: {file.images} images, {file.boxes} boxes{difficult}')
            for note in file.notes:
                print(f'  {note}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
