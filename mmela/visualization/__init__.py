"""Pictures: attention maps over images, boxes, masks and sheets of them."""

from mmela.visualization.attention import overlay_attention, record_attention
from mmela.visualization.pictures import contact_sheet, draw_boxes, draw_mask

__all__ = [
    'contact_sheet',
    'draw_boxes',
    'draw_mask',
    'overlay_attention',
    'record_attention',
]
