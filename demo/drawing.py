"""The images of the demo: predictions and attention maps of the networks."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from demo.scenes import CLASSES, PALETTE
from demo.tasks import DATA_ROOT, DETECTION, SEGMENTATION, WORK_DIR, Task
from mmela.errors import UserError
from mmela.visualization import (
    contact_sheet,
    draw_boxes,
    draw_mask,
    overlay_attention,
    record_attention,
)

#: The first scenes of the validation set are drawn, not a selection by result.
NUM_SCENES = 8
#: Number of scenes in the overview.
NUM_ROWS = 4
#: Boxes below this confidence are not drawn.
SCORE_THRESHOLD = 0.3


def draw_all(root: Path) -> Path:
    """Draws the results of a finished demo.

    Args:
        root: The checkout.

    Returns:
        Path of the overview, relative to ``root``. Each task's folder next to it has one sheet per
        scene.
    """
    data = root / DATA_ROOT
    truth = json.loads((data / 'annotations' / 'instances_val.json').read_text())
    names = [Path(image['file_name']).stem for image in truth['images'][:NUM_SCENES]]
    images = [_read(data / 'JPEGImages' / f'{name}.jpg') for name in names]
    detection = _detection_columns(root, truth, images)
    segmentation = _segmentation_columns(root, data, names, images)
    for task, columns in ((DETECTION, detection), (SEGMENTATION, segmentation)):
        folder = root / WORK_DIR / task.name
        for index, name in enumerate(names):
            row = [column[index] for column in columns.values()]
            cv2.imwrite(str(folder / f'{name}.png'), contact_sheet([row], list(columns)))
    shown = {
        'truth': detection['truth'],
        'boxes, no attention': detection['before'],
        'boxes, ELA': detection['after'],
        'masks, ELA': segmentation['after'],
        'attention, stage2': detection['attention, stage2'],
    }
    rows = [[column[index] for column in shown.values()] for index in range(NUM_ROWS)]
    overview = Path(WORK_DIR) / 'overview.jpg'
    sheet = contact_sheet(rows, list(shown))
    cv2.imwrite(str(root / overview), sheet, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return overview


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    if image is None:
        raise UserError(f'{path} is not a readable image; delete {DATA_ROOT} and run again.')
    return image


def _grey(image: np.ndarray) -> np.ndarray:
    """The image in grey, so that colours drawn over it stand out."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def _detection_columns(
    root: Path, truth: dict[str, Any], images: list[np.ndarray]
) -> dict[str, list[np.ndarray]]:
    true_boxes = []
    for image, entry in zip(images, truth['images'], strict=False):
        found = [a for a in truth['annotations'] if a['image_id'] == entry['id']]
        boxes = np.array([a['bbox'] for a in found])
        boxes[:, 2:] += boxes[:, :2]
        labels = [a['category_id'] - 1 for a in found]
        true_boxes.append(draw_boxes(image, boxes, labels, CLASSES, PALETTE[1:]))
    return {
        'truth': true_boxes,
        'before': _predicted_boxes(root, 'before', images),
        'after': _predicted_boxes(root, 'after', images),
        **_attention_columns(root, DETECTION, images),
    }


def _predicted_boxes(root: Path, stage: str, images: list[np.ndarray]) -> list[np.ndarray]:
    file = DETECTION.folder(root, stage) / DETECTION.predictions
    by_id = {item['img_id']: item['pred_instances'] for item in pickle.loads(file.read_bytes())}
    drawn = []
    for index, image in enumerate(images):
        found = by_id[index + 1]
        sure = found['scores'] >= SCORE_THRESHOLD
        drawn.append(
            draw_boxes(
                image,
                found['bboxes'][sure].numpy(),
                found['labels'][sure].tolist(),
                CLASSES,
                PALETTE[1:],
                found['scores'][sure].tolist(),
            )
        )
    return drawn


def _segmentation_columns(
    root: Path, data: Path, names: list[str], images: list[np.ndarray]
) -> dict[str, list[np.ndarray]]:
    import mmcv

    def masks(folder: Path) -> list[np.ndarray]:
        # Pillow returns the indices of a palette PNG, OpenCV its colours.
        files = [str(folder / f'{name}.png') for name in names]
        maps = [mmcv.imread(file, flag='unchanged', backend='pillow') for file in files]
        return [
            draw_mask(_grey(image), labels, PALETTE)
            for image, labels in zip(images, maps, strict=True)
        ]

    def predicted(stage: str) -> Path:
        return SEGMENTATION.folder(root, stage) / SEGMENTATION.predictions

    return {
        'truth': masks(data / 'SegmentationClass'),
        'before': masks(predicted('before')),
        'after': masks(predicted('after')),
        **_attention_columns(root, SEGMENTATION, images),
    }


def _attention_columns(
    root: Path, task: Task, images: list[np.ndarray]
) -> dict[str, list[np.ndarray]]:
    """One column per stage: its last attention layer."""
    import torch

    model = _load_model(root, task)
    inputs = [torch.from_numpy(image).permute(2, 0, 1) for image in images]
    with torch.no_grad(), record_attention(model) as record:
        batch = model.data_preprocessor({'inputs': inputs, 'data_samples': None}, False)
        model(batch['inputs'], mode='tensor')
    last_of_stage = {name.split('.')[1]: maps[0] for name, maps in record.items()}
    return {
        f'attention, {stage}': [
            overlay_attention(_grey(image), attention)
            for image, attention in zip(images, maps, strict=True)
        ]
        for stage, maps in last_of_stage.items()
    }


def _load_model(root: Path, task: Task) -> Any:
    from mmengine.registry import MODELS, init_default_scope
    from mmengine.runner import load_checkpoint

    from mmela.engine.config import load_config

    cfg = load_config(str(root / task.attention))
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    load_checkpoint(model, task.checkpoint(root), map_location='cpu')
    return model.eval()
