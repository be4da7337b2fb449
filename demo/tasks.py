"""The networks of the demo and where their results go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DATA_ROOT = 'data/shapes'
WORK_DIR = 'work_dirs/demo'


@dataclass(frozen=True)
class Task:
    """A network of the demo.

    Attributes:
        title: Task and network, such as ``'detection: YOLOX-Nano + ELA-T'``.
        plain: Config of the network without attention.
        attention: Config of the network with attention; loads ``weights``.
        weights: The trained network without attention.
        metric: Key in ``metrics.json``.
        unit: Divisor that turns the metric into a fraction.
        label: Name of the metric in the table.
        predictions: Name of the output of ``test.py --out``.
    """

    title: str
    plain: str
    attention: str
    weights: str
    metric: str
    unit: float
    label: str
    predictions: str

    @property
    def name(self) -> str:
        """``'detection'`` or ``'segmentation'``."""
        return self.title.partition(':')[0]

    def folder(self, root: Path, stage: str) -> Path:
        """The work dir of a step.

        Args:
            root: The checkout.
            stage: ``'before'``, ``'train'`` or ``'after'``.
        """
        return root / WORK_DIR / self.name / stage

    def checkpoint(self, root: Path) -> str:
        """The checkpoint of the fine-tuned network."""
        return (self.folder(root, 'train') / 'last_checkpoint').read_text().strip()


DETECTION = Task(
    title='detection: YOLOX-Nano + ELA-T',
    plain='configs/det/yolox/yolox_nano_shapes.py',
    attention='configs/det/yolox/yolox_nano-ela-t_shapes.py',
    weights='weights/yolox_nano_shapes.pth',
    metric='coco/bbox_mAP_50',
    unit=1,
    label='AP50',
    predictions='predictions.pkl',
)
SEGMENTATION = Task(
    title='segmentation: DeepLabV3 + ELA-B',
    plain='configs/seg/deeplabv3/deeplabv3_r18_shapes.py',
    attention='configs/seg/deeplabv3/deeplabv3_r18-ela-b_shapes.py',
    weights='weights/deeplabv3_r18_shapes.pth',
    metric='mIoU',
    unit=100,
    label='mIoU',
    predictions='predictions',
)
TASKS = (DETECTION, SEGMENTATION)
