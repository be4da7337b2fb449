"""Convert a YOLOX checkpoint of Megvii (Megvii-BaseDetection/YOLOX) for MMDetection.

yolox_nano.pth, yolox_tiny.pth, yolox_s.pth to yolox_x.pth of their releases, or a checkpoint you
trained with their code. YOLOX-Darknet53 has no counterpart in MMDetection.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tools/

from tool_imports import mmela_imports  # noqa: E402

with mmela_imports():
    from convert_yolox.command import run


def main() -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error.
    """
    return run(__doc__, "checkpoint of Megvii's YOLOX", from_ela_code=False)


if __name__ == '__main__':
    sys.exit(main())
