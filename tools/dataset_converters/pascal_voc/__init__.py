"""What stands between a download and the configs, done by the toolboxes' own converters."""

from pascal_voc.voc_aug import voc_aug
from pascal_voc.voc_to_coco import voc_to_coco

__all__ = ['voc_aug', 'voc_to_coco']
