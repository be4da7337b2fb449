"""Convert a YOLOX checkpoint of the authors of ELA (Xuwei86/ELA_Code) for MMDetection.

With or without attention: logs/ELA72/best_epoch_weights.pth and model_data/yolox_nano.pth.
See docs/authors_checkpoint.md for the commands before and after.
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
    return run(__doc__, "checkpoint of the authors' YOLOX", from_ela_code=True)


if __name__ == '__main__':
    sys.exit(main())
