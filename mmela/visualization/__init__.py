"""Attention maps over images; boxes, masks and contact sheets."""

from mmela.visualization.attention import overlay_attention, record_attention
from mmela.visualization.drawing import contact_sheet, draw_boxes, draw_mask

__all__ = [
    'contact_sheet',
    'draw_boxes',
    'draw_mask',
    'overlay_attention',
    'record_attention',
]
