"""Runs the YOLOX of ELA's authors, their own code from a clone, on given tensors and photographs.

A process of its own, because their modules have names like `utils` and expect their folder as the
working directory. Takes a job and writes a result, both files of torch.save; see `main`.
"""

import os
import sys
import tempfile
import types
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn


def main(job_file, result_file):
    """The job: `clone`, `checkpoint`, `start`, `photos`, `tensors`, `thresholds`.

    `checkpoint` has attention and `start`, their COCO weights, has none; thresholds are pairs of
    confidence and NMS. The result: `heads`, for each tensor the three maps (N, 4 + 1 + classes,
    H, W) that their network returns; `start_heads`, the same with `start`; `inputs`, the tensors
    that their predictor makes of the first photographs; `detections`, for each pair of thresholds
    and photograph an array of rows (top, left, bottom, right, objectness, class score, class) in
    the photograph's pixels.
    """
    job = torch.load(job_file)
    folder = Path(job['clone']) / 'YOLOX'
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    provide_torchvision_ops()
    from nets import yolo as networks
    from nets.attention import ELA72
    from PIL import Image

    def ela_t(channels):
        """Their layer with the convolution that their checkpoint has, and T's 32 groups.

        Their code ships with the sizes of variant L; what `forward` does is theirs.
        """
        layer = ELA72(channels)
        layer.conv = nn.Conv1d(channels, channels, 5, padding=2, groups=channels, bias=False)
        layer.gn = nn.GroupNorm(32, channels)
        return layer

    networks.attention_block[2] = ela_t  # phi=3 of their YOLOPAFPN, its default

    def without_attention(num_classes):
        with patch.object(networks, 'YOLOPAFPN', partial(networks.YOLOPAFPN, phi=0)):
            return networks.YoloBody(num_classes, 'nano').eval()

    import yolo

    result = dict(heads=[], inputs=[], detections={})
    start = without_attention(80)
    start.load_state_dict(torch.load(job['start'], map_location='cpu'))
    with torch.no_grad():
        result['start_heads'] = [start(x) for x in job['tensors']]
    found = []
    their_nms = yolo.non_max_suppression
    yolo.non_max_suppression = lambda *a, **k: found.append(their_nms(*a, **k)) or found[-1]
    for confidence, nms_iou in job['thresholds']:
        predictor = yolo.YOLO(
            model_path=job['checkpoint'], confidence=confidence, nms_iou=nms_iou, cuda=False
        )
        if not result['heads']:
            with torch.no_grad():
                result['heads'] = [predictor.net(x) for x in job['tensors']]
        predictor.net.register_forward_pre_hook(
            lambda _, args: result['inputs'].append(args[0]) if len(result['inputs']) < 4 else None
        )
        with tempfile.TemporaryDirectory() as out:
            os.mkdir(f'{out}/detection-results')
            for photo in job['photos']:
                found.clear()
                with Image.open(photo) as image:
                    predictor.get_map_txt('photo', image, predictor.class_names, out)
                (detections,) = found[0]
                result['detections'][confidence, nms_iou, photo] = torch.as_tensor(detections)
    torch.save(result, result_file)


def provide_torchvision_ops():
    """Their NMS is torchvision's; where it is not there or cannot run, the textbook's steps in."""
    try:
        from torchvision.ops import nms

        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, RuntimeError):
        ops = types.ModuleType('torchvision.ops')
        ops.nms = None
        ops.boxes = types.SimpleNamespace(batched_nms=batched_nms)
        for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
            del sys.modules[name]
        sys.modules['torchvision'] = types.ModuleType('torchvision')
        sys.modules['torchvision.ops'] = ops


def batched_nms(boxes, scores, classes, threshold):
    """Keeps the best box of a class and drops those that overlap it, again and again."""
    keep = []
    left = scores.argsort(descending=True).tolist()
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while left:
        best, *left = left
        keep.append(best)
        rest = torch.tensor(left, dtype=torch.long)
        corner = torch.maximum(boxes[rest, :2], boxes[best, :2])
        sides = (torch.minimum(boxes[rest, 2:], boxes[best, 2:]) - corner).clamp(min=0)
        overlap = sides.prod(1)
        iou = overlap / (areas[rest] + areas[best] - overlap)
        left = rest[(iou <= threshold) | (classes[rest] != classes[best])].tolist()
    return torch.tensor(keep, dtype=torch.long)


if __name__ == '__main__':
    main(*sys.argv[1:])
