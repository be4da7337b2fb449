"""Converts PASCAL VOC and SBD downloads, using the toolboxes' own converters."""

from pascal_voc.voc_aug import voc_aug
from pascal_voc.voc_to_coco import voc_to_coco

__all__ = ['voc_aug', 'voc_to_coco']
