"""Run by the new environment's own Python: does what was installed work together?"""

import sys


def main():
    """Imports everything, runs one compiled op, and finds a config of each package."""
    import cv2
    import torch

    assert cv2.imencode('.png', torch.zeros(4, 4, dtype=torch.uint8).numpy())[0]

    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 8.0], [20.0, 20.0, 29.0, 29.0]])
    kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)[1]
    assert kept.tolist() == [0, 2], kept

    import mmdet.models
    import mmseg.models
    from mmengine.utils import get_installed_path

    import mmela

    print('mmela', mmela.__version__, get_installed_path('mmela'))
    print('mmdet', mmdet.__version__, 'mmseg', mmseg.__version__)


if __name__ == '__main__':
    sys.exit(main())
