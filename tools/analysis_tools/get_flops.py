"""Print parameters and FLOPs of configs with and without their attention: `mmela flops`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tools/

from tool_imports import mmela_imports  # noqa: E402

with mmela_imports():
    from mmela_cli.flops import main

if __name__ == '__main__':
    sys.exit(main())
