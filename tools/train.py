"""Train a detector, a segmenter or a classifier: `mmela train`."""

import sys

from tool_imports import mmela_imports

with mmela_imports():
    from mmela_cli.train import main

if __name__ == '__main__':
    sys.exit(main())
