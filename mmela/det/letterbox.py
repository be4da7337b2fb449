"""The letterbox of the authors' YOLOX, and a head that finds the way back from it.

MMDetection pads at the right and at the bottom, so that boxes only have to be scaled. The authors
of ELA put the picture in the middle of a grey square (Xuwei86/ELA_Code, ``YOLOX/utils/utils.py``).
That is another picture to the network: the convolutions' strides fall on other pixels, and ELA
pools whole rows and columns.
"""

from __future__ import annotations

from typing import Any

import mmcv
from mmcv.transforms import BaseTransform
from mmdet.models.dense_heads import YOLOXHead
from mmengine.structures import InstanceData

from mmela.errors import ConfigError
from mmela.registry import MODELS, TRANSFORMS


@TRANSFORMS.register_module()
class ELACodeLetterbox(BaseTransform):
    """Fits a picture into a grey frame as the YOLOX of ELA's authors does when it predicts.

    The picture is resized by Pillow's bicubic filter, sides rounded down, and put in the middle.
    Their way back (``YOLOX/utils/utils_bbox.py``) takes the sides as rounded to the nearest and
    the border as the exact half; ``scale_factor`` and ``border`` say so too, which is up to one
    pixel of the frame off where the sides are no whole numbers.

    Sets ``img``, ``img_shape``, ``scale_factor``, and ``border``: where the picture lies in the
    frame, (top, bottom, left, right), which is what MMDetection's heads for CenterNet and
    CornerNet call by that name. :class:`LetterboxYOLOXHead` reads it.

    Args:
        size: Width and height of the frame.
        pad_val: Its grey.

    Raises:
        ConfigError: If annotations were loaded already: the ground truth stays in the picture's
            own coordinates, so ``LoadAnnotations`` belongs behind this.
    """

    def __init__(self, size: tuple[int, int] = (640, 640), pad_val: int = 128) -> None:
        self.size = size
        self.pad_val = pad_val

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Puts ``results['img']``, shape (H, W, 3), into the frame."""
        if 'gt_bboxes' in results:
            raise ConfigError(
                'ELACodeLetterbox moves no annotations; put LoadAnnotations behind it in the '
                'pipeline, as test pipelines have it.'
            )
        height, width = results['img'].shape[:2]
        frame_width, frame_height = self.size
        scale = min(frame_width / width, frame_height / height)
        new_width, new_height = int(width * scale), int(height * scale)
        left, top = (frame_width - new_width) // 2, (frame_height - new_height) // 2
        img = mmcv.imresize(
            results['img'], (new_width, new_height), interpolation='bicubic', backend='pillow'
        )
        padding = (left, top, frame_width - new_width - left, frame_height - new_height - top)
        # A single number would colour the first channel alone.
        pad_val = (self.pad_val,) * img.shape[2]
        results['img'] = mmcv.impad(img, padding=padding, pad_val=pad_val)
        results['img_shape'] = results['img'].shape[:2]

        # From here on their way back.
        fit_width, fit_height = round(width * scale), round(height * scale)
        left_edge, top_edge = (frame_width - fit_width) / 2, (frame_height - fit_height) / 2
        results['scale_factor'] = (fit_width / width, fit_height / height)
        results['border'] = (top_edge, top_edge + fit_height, left_edge, left_edge + fit_width)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, pad_val={self.pad_val})'


@MODELS.register_module()
class LetterboxYOLOXHead(YOLOXHead):
    """MMDetection's YOLOXHead, which also knows pictures that lie in the middle of a frame.

    The network is its parent's. Where the meta information of a picture has a ``border``, as
    :class:`ELACodeLetterbox` sets it, boxes are counted from the picture's corner before they are
    rescaled; where there is none, nothing differs.
    """

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: Any,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict[str, Any] | None = None,
    ) -> InstanceData:
        border = (img_meta or {}).get('border')
        if rescale and border is not None:
            top, _, left, _ = border
            results.bboxes = results.bboxes - results.bboxes.new_tensor((left, top, left, top))
        return super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)
