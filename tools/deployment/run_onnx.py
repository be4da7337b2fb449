"""Run a network that `mmela export` wrote: ONNX Runtime, OpenCV and NumPy, no torch."""

import argparse
import json
import sys
from pathlib import Path

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


def preprocess(image: np.ndarray, settings: dict) -> tuple[np.ndarray, float]:
    """Resizes, crops, normalises and pads a BGR image.

    Returns:
        The input of shape (1, 3, H, W), and by how much the image was enlarged.
    """
    height, width = settings['input']['height'], settings['input']['width']
    scale = 1.0
    for step in settings['pipeline']:
        kind = step['type'].rpartition('.')[2]
        h, w = image.shape[:2]
        if kind == 'Resize' and step.get('keep_ratio'):
            long, short = max(step['scale']), min(step['scale'])
            scale = min(long / max(h, w), short / min(h, w))
            size = int(w * scale + 0.5), int(h * scale + 0.5)
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        elif kind == 'Resize':
            image = cv2.resize(image, tuple(np.ravel([step['scale']] * 2)[:2]))
        elif kind == 'ResizeEdge':
            ratio = step['scale'] / min(h, w)
            image = cv2.resize(image, (int(w * ratio), int(h * ratio)))
        elif kind == 'CenterCrop':
            side_h, side_w = np.ravel([step['crop_size']] * 2)[:2]
            top, left = (h - side_h) // 2, (w - side_w) // 2
            image = image[top : top + side_h, left : left + side_w]
        elif kind == 'Pad':
            break  # below
    x = image[..., ::-1] if settings['channels'] == 'RGB' else image
    x = (x.astype(np.float32) - settings['mean']) / settings['std']
    pad_value = settings['pad_value']
    for step in settings['pipeline']:
        if step['type'].endswith('Pad'):
            value = step.get('pad_val', {}).get('img', 0)
            pad_value = (np.asarray(value, np.float32) - settings['mean']) / settings['std']
    h, w = x.shape[:2]
    if (h, w) != (height, width) and (h > height or w > width):
        raise SystemExit(f'error: expected an input of at most {height}x{width}, got {h}x{w}')
    padded = np.empty((height, width, 3), np.float32)
    padded[:] = pad_value
    padded[:h, :w] = x
    return padded.transpose(2, 0, 1)[None].astype(np.float32), scale


def boxes_of(outputs: list, scale: float, settings: dict, score_thr: float) -> list[dict]:
    """Boxes after suppression, per class, in pixels of the image."""
    boxes, scores = (output[0] for output in outputs)
    labels, best = scores.argmax(1), scores.max(1)
    kept = best >= score_thr
    boxes, labels, best = boxes[kept], labels[kept], best[kept]
    sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    threshold = settings['nms'].get('iou_threshold', 0.65)
    found = cv2.dnn.NMSBoxesBatched(sizes, best, labels, score_thr, threshold)
    names = settings['classes']
    return [
        {
            'class': names[labels[i]] if names else int(labels[i]),
            'score': round(float(best[i]), 4),
            'box': [round(float(v) / scale, 2) for v in boxes[i]],
        }
        for i in np.ravel(found)
    ]


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
        x, scale = preprocess(image, settings)
        outputs = session.run(None, {'images': x})
        result: dict = {'image': path}
        if settings['task'] == 'mmdet':
            result['boxes'] = boxes_of(outputs, scale, settings, args.score_thr)
        elif settings['task'] == 'mmseg':
            labels = outputs[0][0].argmax(0).astype(np.uint8)
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
