"""The command line that both converters share."""

from __future__ import annotations

import argparse

from convert_yolox import convert_yolox
from mmela.engine import exit_on_user_error


def run(description: str | None, source: str, from_ela_code: bool) -> int:
    """Parses the command line and converts a checkpoint.

    Args:
        description: Help text of the command.
        source: Help text of the checkpoint.
        from_ela_code: Whether it comes from the authors of ELA instead of Megvii.

    Returns:
        The exit status; 2 after a user error.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('source', help=source)
    parser.add_argument('out', help='the file to write')
    parser.add_argument('--classes', metavar='FILE', help='text file of class names, one per line')
    parser.add_argument('--overwrite', action='store_true', help='replace OUT if it exists')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='run the code that the checkpoint may hold; only if you trust its author',
    )
    args = parser.parse_args()
    with exit_on_user_error():
        report = convert_yolox(
            args.source,
            args.out,
            from_ela_code=from_ela_code,
            classes_file=args.classes,
            overwrite=args.overwrite,
            trust=args.trust_checkpoint,
        )
        print(report)
    return 0
