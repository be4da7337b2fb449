"""Check every file of the data sets of a config: `mmela verify`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tools/

from tool_imports import mmela_imports  # noqa: E402

with mmela_imports():
    from mmela_cli.verify import main

if __name__ == '__main__':
    sys.exit(main())
