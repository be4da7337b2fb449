"""Run a network that `mmela export` wrote: ONNX Runtime, OpenCV and NumPy, no torch."""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import onnxruntime


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', help='the .onnx file; its .json lies beside it')
    parser.add_argument('images', nargs='+', help='image files')
    parser.add_argument('--score-thr', type=float, default=0.3, help='for boxes')
    parser.add_argument('--out', help='folder for label maps (segmentation)')
    return parser.parse_args()


INTERPOLATIONS = {
    'nearest': cv2.INTER_NEAREST,
    'bilinear': cv2.INTER_LINEAR,
    'bicubic': cv2.INTER_CUBIC,
    'area': cv2.INTER_AREA,
    'lanczos': cv2.INTER_LANCZOS4,
}


class Input(NamedTuple):
    """An image as the network takes it."""

    x: np.ndarray  # shape (1, 3, H, W)
    size: tuple[int, int]  # height and width of the image in it, without padding
    factors: tuple[float, float]  # by how much it was enlarged horizontally and vertically


def preprocess(image: np.ndarray, settings: dict) -> Input:
    """Resizes, crops, pads and normalises a BGR image."""
    height, width = settings['input']['height'], settings['input']['width']
    is_dynamic = settings['input']['dynamic']
    # A file of one size takes an image of another shape smaller than the pipeline has it.
    limit = None if is_dynamic else (width, height)
    crops = any(step['type'].endswith('CenterCrop') for step in settings['pipeline'])
    factor_x = factor_y = 1.0
    size = None
    for step in settings['pipeline']:
        kind = step['type'].rpartition('.')[2]
        h, w = image.shape[:2]
        if kind in ('Resize', 'ResizeEdge'):
            new = resized_size(kind, step, w, h, None if crops else limit)
            mode = INTERPOLATIONS[step.get('interpolation', 'bilinear')]
            image = cv2.resize(image, new, interpolation=mode)
            factor_x, factor_y = factor_x * new[0] / w, factor_y * new[1] / h
        elif kind == 'CenterCrop':
            side_w, side_h = pair(step['crop_size'])
            side_w, side_h = min(side_w, w), min(side_h, h)
            top, left = round((h - side_h) / 2), round((w - side_w) / 2)
            image = image[top : top + side_h, left : left + side_w]
        elif kind == 'Pad':
            size = size or (h, w)
            value = step.get('pad_val', 0)
            value = value.get('img', 0) if isinstance(value, dict) else value
            new_h, new_w = padded_size(step, h, w)
            if not is_dynamic:
                new_h, new_w = min(new_h, max(h, height)), min(new_w, max(w, width))
            image = pad(image, new_h, new_w, value)
    size = size or image.shape[:2]
    x = image[..., ::-1] if settings['channels'] == 'RGB' else image
    x = (x.astype(np.float32) - settings['mean']) / settings['std']
    h, w = x.shape[:2]
    if is_dynamic:
        divisor = settings['input']['divisor']
        height, width = (math.ceil(side / divisor) * divisor for side in (h, w))
    elif h > height or w > width:
        raise SystemExit(f'error: expected an input of at most {height}x{width}, got {h}x{w}')
    x = pad(x, height, width, settings['pad_value'])
    return Input(x.transpose(2, 0, 1)[None].astype(np.float32), size, (factor_x, factor_y))


def resized_size(
    kind: str, step: dict, w: int, h: int, limit: tuple[int, int] | None
) -> tuple[int, int]:
    """Width and height behind a step that resizes, at most those of the limit."""
    if kind == 'ResizeEdge':
        edge, scale = step.get('edge', 'short'), step['scale']
        by_width = {'short': w < h, 'long': w > h, 'width': True, 'height': False}[edge]
        new = (scale, int(scale * h / w)) if by_width else (int(scale * w / h), scale)
    elif step.get('scale') is None:
        by_x, by_y = pair(step['scale_factor'])
        new = int(w * by_x + 0.5), int(h * by_y + 0.5)
    elif not step.get('keep_ratio'):
        new = pair(step['scale'])
    else:
        sides = pair(step['scale'])
        scale = min(max(sides) / max(h, w), min(sides) / min(h, w))
        new = int(w * scale + 0.5), int(h * scale + 0.5)
    if limit is not None and (new[0] > limit[0] or new[1] > limit[1]):
        scale = min(limit[0] / w, limit[1] / h)
        new = int(w * scale + 0.5), int(h * scale + 0.5)
    return max(new[0], 1), max(new[1], 1)


def padded_size(step: dict, h: int, w: int) -> tuple[int, int]:
    """Height and width behind a step that pads."""
    if step.get('pad_to_square'):
        h = w = max(h, w)
    if step.get('size'):
        width, height = pair(step['size'])
        h, w = max(h, height), max(w, width)
    divisor = step.get('size_divisor') or 1
    return math.ceil(h / divisor) * divisor, math.ceil(w / divisor) * divisor


def pad(image: np.ndarray, height: int, width: int, value: float | list) -> np.ndarray:
    """Pads an image at the bottom and on the right."""
    padded = np.empty((height, width, image.shape[2]), image.dtype)
    padded[:] = value
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


def pair(value: float | list) -> tuple:
    """A number twice, or two numbers."""
    return tuple(value) if isinstance(value, list) else (value, value)


def boxes_of(outputs: list, given: Input, settings: dict, score_thr: float) -> list[dict]:
    """Boxes after suppression, per class, in pixels of the image."""
    boxes, scores = (output[0] for output in outputs)
    if settings['multi_label']:
        places, labels = np.nonzero(scores >= score_thr)
    else:
        labels = scores.argmax(1)
        places = np.flatnonzero(scores.max(1) >= score_thr)
        labels = labels[places]
    boxes, best = boxes[places], scores[places, labels]
    if settings['clip']:
        h, w = given.size
        boxes = boxes.clip(0, [w, h, w, h])
    sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    threshold = settings['nms'].get('iou_threshold', 0.65)
    found = np.ravel(cv2.dnn.NMSBoxesBatched(sizes, best, labels, score_thr, threshold))
    found = sorted(found.astype(int), key=lambda i: -best[i])[: settings['max_per_img']]
    names = settings['classes']
    boxes = boxes / np.array([*given.factors, *given.factors])
    return [
        {
            'class': names[labels[i]] if names else int(labels[i]),
            'score': round(float(best[i]), 4),
            'box': [round(float(v), 2) for v in boxes[i]],
        }
        for i in found
    ]


def labels_of(outputs: list, given: Input, settings: dict, image: np.ndarray) -> np.ndarray:
    """The label map, of the size of the image, without what was padded."""
    h, w = given.size
    logits = outputs[0][0][:, :h, :w]
    if settings['threshold'] is not None:  # one channel for two classes
        labels = 1 / (1 + np.exp(-logits[0])) > settings['threshold']
    else:
        labels = logits.argmax(0)
    size = image.shape[1], image.shape[0]
    return cv2.resize(labels.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)


def main() -> int:
    """Runs the command.

    Returns:
        The exit status.
    """
    args = parse_args()
    settings = json.loads(Path(args.model).with_suffix('.json').read_text(encoding='utf-8'))
    session = onnxruntime.InferenceSession(args.model, providers=['CPUExecutionProvider'])
    results = []
    for path in args.images:
        image = cv2.imread(path)
        if image is None:
            print(f'error: {path} cannot be read: it is empty or not an image.', file=sys.stderr)
            return 2
        given = preprocess(image, settings)
        outputs = session.run(None, {'images': given.x})
        result: dict = {'image': path}
        if settings['task'] == 'mmdet':
            result['boxes'] = boxes_of(outputs, given, settings, args.score_thr)
        elif settings['task'] == 'mmseg':
            labels = labels_of(outputs, given, settings, image)
            if args.out:
                Path(args.out).mkdir(parents=True, exist_ok=True)
                result['mask'] = str(Path(args.out, f'{Path(path).stem}.png'))
                cv2.imwrite(result['mask'], labels)
            result['classes'] = sorted(int(v) for v in np.unique(labels))
        else:
            scores, names = outputs[0][0], settings['classes']
            best = int(scores.argmax())
            result |= {'class': names[best] if names else best, 'score': float(scores[best])}
        results.append(result)
    print(json.dumps(results, indent=2))
    return 0


if __name__ == '__main__':
    sys.exit(main())
