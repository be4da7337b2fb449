"""The letterbox of the authors' YOLOX, and a head that maps its boxes back.

MMDetection pads at the right and at the bottom, so that boxes only need to be scaled. The authors
of ELA centre the image in a grey square (Xuwei86/ELA_Code, ``YOLOX/utils/utils.py``). The network
sees a different input then: the strides of the convolutions start at other pixels, and ELA pools
whole rows and columns.
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
    """Fits an image into a grey frame, as the YOLOX of ELA's authors does for prediction.

    The image is resized with Pillow's bicubic filter to sides rounded down, and centred. To map
    boxes back, the authors (``YOLOX/utils/utils_bbox.py``) take sides rounded to the nearest and a
    border of exactly half the rest. ``scale_factor`` and ``border`` follow them, which differs by
    up to a pixel of the frame where the sides are not whole numbers.

    Sets ``img``, ``img_shape``, ``scale_factor`` and ``border``: the image's place in the frame as
    (top, bottom, left, right), the name and the order of MMDetection's heads for CenterNet and
    CornerNet. :class:`LetterboxYOLOXHead` reads it.

    Args:
        size: Width and height of the frame.
        pad_val: Its grey value.

    Raises:
        ConfigError: If annotations were loaded before. They stay in the coordinates of the image,
            so ``LoadAnnotations`` has to follow.
    """

    def __init__(self, size: tuple[int, int] = (640, 640), pad_val: int = 128) -> None:
        self.size = size
        self.pad_val = pad_val

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Puts ``results['img']``, shape (H, W, 3), into the frame."""
        if 'gt_bboxes' in results:
            raise ConfigError(
                'ELACodeLetterbox does not transform annotations; put LoadAnnotations behind it in '
                'the pipeline, as in test pipelines.'
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
        # A single number would set the first channel alone.
        pad_val = (self.pad_val,) * img.shape[2]
        results['img'] = mmcv.impad(img, padding=padding, pad_val=pad_val)
        results['img_shape'] = results['img'].shape[:2]

        # Rounded as the authors do to map boxes back.
        fit_width, fit_height = round(width * scale), round(height * scale)
        left_edge, top_edge = (frame_width - fit_width) / 2, (frame_height - fit_height) / 2
        results['scale_factor'] = (fit_width / width, fit_height / height)
        results['border'] = (top_edge, top_edge + fit_height, left_edge, left_edge + fit_width)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, pad_val={self.pad_val})'


@MODELS.register_module()
class LetterboxYOLOXHead(YOLOXHead):
    """MMDetection's YOLOXHead for images that are centred in a frame.

    The network is its parent's. If the meta information of an image has a ``border``, as set by
    :class:`ELACodeLetterbox`, boxes are shifted to the image's corner before they are rescaled.
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
