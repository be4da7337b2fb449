"""Add the masks of SBD to PASCAL VOC 2012, for the voc12aug configs."""

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
    parser.add_argument('devkit', help='VOCdevkit with VOC2012')
    parser.add_argument('sbd', help='benchmark_RELEASE of SBD, with dataset/cls')
    return parser.parse_args()


def main() -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error.
    """
    args = parse_args()
    with engine.exit_on_user_error():
        from pascal_voc import voc_aug

        made = voc_aug(args.devkit, args.sbd)
        print(f'{made.folder}: {made.converted} masks of SBD, {made.copied} of VOC')
        print(f'aug.txt: {made.aug} images, trainaug.txt: {made.trainaug}')
        for note in made.notes:
            print(note)
    return 0


if __name__ == '__main__':
    sys.exit(main())
