"""``mmela predict``: boxes, masks or classes for images, by the toolboxes' own inferencers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config

from mmela.analysis.input_shape import test_pipeline
from mmela.commands.inputs import find_images, output_names
from mmela.commands.networks import check_device, check_fit, dataset_meta, read_weights
from mmela.engine import load_config
from mmela.engine.checkpoints.reading import checkpoints_as_data
from mmela.engine.checks.environment import check_environment
from mmela.engine.dataset_configs import iter_datasets
from mmela.engine.toolboxes import scope_of
from mmela.errors import UserError


def predict(
    cfg: str | Config,
    checkpoint: str,
    inputs: str | Sequence[str],
    *,
    out: str | None = None,
    device: str | None = None,
    batch_size: int = 1,
    score_thr: float = 0.3,
) -> Iterator[dict[str, Any]]:
    """Predicts on images, one after another.

    Args:
        cfg: A config file or a name such as ``mmdet::...``, or what
            :func:`mmela.engine.load_config` made of it with other options.
        checkpoint: A checkpoint file or its address.
        inputs: An image, a folder, a pattern such as ``'photos/*.jpg'``, or several of these.
        out: Folder for the drawn images, and in segmentation for the label maps too; None draws
            nothing.
        device: Such as ``'cpu'`` or ``'cuda:0'``; None takes a GPU where there is one.
        batch_size: Images that go through the network together.
        score_thr: Boxes below are left out of the drawing and of the result.

    Yields:
        For each image ``image``, its path; ``drawn``, the path of the drawing; and by task:

        - detection ``boxes``, each with ``class``, ``score`` and ``box``, (x1, y1, x2, y2) in
          pixels of the image;
        - segmentation ``pixels``, the share of each class that is there, and ``mask``, the path of
          the label map;
        - classification ``class``, ``score`` and ``scores``, the five best, each with ``class`` and
          ``score``.

    Raises:
        UserError: If an input is no image, the checkpoint is none or of another network, or the
            device or the toolbox is missing.
    """
    if isinstance(cfg, str):
        cfg = load_config(cfg)
    images = find_images(inputs)
    check_device(device)
    contents = read_weights(cfg, checkpoint)
    scope = scope_of(cfg)
    check_environment(scope)
    if scope not in _PREDICTORS:
        raise UserError(
            f'expected a config of detection, segmentation or classification, got one of {scope}.'
        )
    cfg = _with_one_test_set(cfg)
    with checkpoints_as_data(cfg.get('trust_checkpoint', False)):
        predictor = _PREDICTORS[scope](cfg, checkpoint, device, score_thr)
    check_fit(predictor.model, contents, checkpoint)
    predictor.name_classes(dataset_meta(cfg, contents, predictor.model))
    names = output_names(images)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        predictions = predictor.run(batch, draw=out is not None)
        for image, (prediction, drawing, mask) in zip(batch, predictions, strict=True):
            result = {'image': image, **prediction}
            if out is not None:
                result['drawn'] = _write(Path(out, f'{names[image]}.jpg'), drawing)
                if mask is not None:
                    result['mask'] = _write(Path(out, f'{names[image]}_mask.png'), mask)
            yield result


def to_json(results: Sequence[dict[str, Any]]) -> str:
    """Results as a JSON list, one object per image."""
    return json.dumps(list(results), indent=2)


def summary(result: dict[str, Any]) -> str:
    """A result in one line."""
    if 'boxes' in result:
        found = ', '.join(f'{box["class"]} {box["score"]:.2f}' for box in result['boxes'])
        said = f'{len(result["boxes"])} boxes: {found}' if found else 'no boxes'
    elif 'pixels' in result:
        said = ', '.join(f'{name} {share:.1%}' for name, share in result['pixels'].items())
    else:
        said = f'{result["class"]} {result["score"]:.2f}'
    return f'{result["image"]}: {said}'


def _write(path: Path, image: np.ndarray) -> str:
    """Writes a BGR image or a label map."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise UserError(f'{path} cannot be written; name another folder with --out.')
    return str(path)


def _with_one_test_set(cfg: Config) -> Config:
    """A copy whose test set is the first of those that it joins; inferencers read its pipeline."""
    cfg = cfg.copy()
    dataset = cfg.test_dataloader.dataset
    if 'pipeline' not in dataset:
        first = next(iter_datasets(cfg, ['test']))[0]
        cfg.test_dataloader.dataset = {**first, 'pipeline': test_pipeline(cfg)}
    return cfg


class _Detection:
    def __init__(self, cfg: Config, checkpoint: str, device: str | None, score_thr: float) -> None:
        from mmdet.apis import DetInferencer

        self._score_thr = score_thr
        self._infer = DetInferencer(cfg, checkpoint, device, scope='mmdet', show_progress=False)
        self.model = self._infer.model

    def name_classes(self, meta: dict[str, Any]) -> None:
        self._classes = meta['classes']
        self.model.dataset_meta = self._infer.visualizer.dataset_meta = meta

    def run(self, images: list[str], draw: bool) -> Iterator[tuple[dict, Any, Any]]:
        found = self._infer(
            images, batch_size=len(images), return_vis=draw, pred_score_thr=self._score_thr
        )
        drawings = found['visualization'] or [None] * len(images)
        for prediction, drawing in zip(found['predictions'], drawings, strict=True):
            rows = zip(
                prediction['labels'], prediction['scores'], prediction['bboxes'], strict=True
            )
            boxes = [
                {
                    'class': self._classes[label],
                    'score': round(score, 4),
                    'box': [round(v, 2) for v in box],
                }
                for label, score, box in rows
                if score >= self._score_thr
            ]
            yield {'boxes': boxes}, drawing[..., ::-1] if draw else None, None


class _Segmentation:
    def __init__(self, cfg: Config, checkpoint: str, device: str | None, score_thr: float) -> None:
        from mmengine.model import revert_sync_batchnorm
        from mmseg.apis import MMSegInferencer

        self._infer = MMSegInferencer(cfg, checkpoint, device=device)
        self._infer.show_progress = False  # no argument in the original distribution
        self._infer.model = revert_sync_batchnorm(self._infer.model)  # SyncBN needs a GPU
        self.model = self._infer.model

    def name_classes(self, meta: dict[str, Any]) -> None:
        self._classes = meta['classes']
        self.model.dataset_meta = meta  # what the inferencer draws with

    def run(self, images: list[str], draw: bool) -> Iterator[tuple[dict, Any, Any]]:
        # One at a time: MMSegmentation does not stack images of several sizes in a test.
        for image in images:
            found = self._infer(image, return_vis=draw)
            label_map, drawing = found['predictions'], found['visualization']
            values, counts = np.unique(label_map, return_counts=True)
            shares = {
                self._classes[int(v)]: round(float(c) / label_map.size, 4)
                for v, c in zip(values, counts, strict=True)
            }
            yield (
                {'pixels': shares},
                drawing[..., ::-1] if draw else None,
                label_map.astype(np.uint8) if draw else None,
            )


class _Classification:
    def __init__(self, cfg: Config, checkpoint: str, device: str | None, score_thr: float) -> None:
        from mmengine.device import get_device
        from mmpretrain.apis import ImageClassificationInferencer

        self._infer = ImageClassificationInferencer(
            cfg, pretrained=checkpoint, device=device or get_device()
        )
        self.model = self._infer.model

    def name_classes(self, meta: dict[str, Any]) -> None:
        self._classes = meta['classes']

    def run(self, images: list[str], draw: bool) -> Iterator[tuple[dict, Any, Any]]:
        from mmpretrain.visualization import UniversalVisualizer

        samples = self._infer(images, batch_size=len(images), return_datasamples=True)
        for image, sample in zip(images, samples, strict=True):
            scores = sample.pred_score.cpu().numpy()
            best = [int(i) for i in np.argsort(-scores)[:5]]
            # A list, as two classes of ImageNet have the same name.
            ranking = [
                {
                    'class': self._classes[i] if self._classes else str(i),
                    'score': round(float(scores[i]), 4),
                }
                for i in best
            ]
            prediction = {**ranking[0], 'scores': ranking}
            drawing = None
            if draw:
                picture: Any = cv2.imread(image)
                # Text is drawn in image pixels: small images would be covered by it.
                factor = max(1.0, 320 / min(picture.shape[:2]))
                drawing = UniversalVisualizer().visualize_cls(
                    picture[..., ::-1],
                    sample,
                    self._classes or None,
                    rescale_factor=factor,
                    draw_gt=False,
                )[..., ::-1]
            yield prediction, drawing, None


_PREDICTORS: dict[str, Any] = {
    'mmdet': _Detection,
    'mmseg': _Segmentation,
    'mmpretrain': _Classification,
}
