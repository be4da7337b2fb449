"""Checks, run by the Python of the new environment, that the packages work together."""

import sys


def main():
    """Imports all packages and runs one compiled op."""
    import cv2
    import torch

    assert cv2.imencode('.png', torch.zeros(4, 4, dtype=torch.uint8).numpy())[0]

    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 8.0], [20.0, 20.0, 29.0, 29.0]])
    kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)[1]
    assert kept.tolist() == [0, 2], kept

    # A torchvision that does not match torch breaks all three, and MMEngine's environment report.
    import mmdet.models
    import mmpretrain.models
    import mmseg.models
    import torchvision
    from mmengine.utils import get_installed_path
    from mmengine.utils.dl_utils import collect_env

    halved = torchvision.transforms.functional.resize(torch.zeros(3, 8, 8), 4)
    assert halved.shape == (3, 4, 4), halved.shape
    assert collect_env()['TorchVision'] == torchvision.__version__

    import mmela

    for package in (mmdet, mmseg, mmpretrain, torchvision):
        print(package.__name__, package.__version__)
    print('mmela', mmela.__version__, get_installed_path('mmela'))


if __name__ == '__main__':
    sys.exit(main())
