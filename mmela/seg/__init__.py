"""Variants of MMSegmentation's backbones that take plugins."""

from mmela.seg.mobilenet_v2 import SegMobileNetV2
from mmela.seg.resnet import SegResNet, SegResNetV1c

__all__ = ['SegMobileNetV2', 'SegResNet', 'SegResNetV1c']
