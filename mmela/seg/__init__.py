"""Variants of MMSegmentation's backbones that take plugins, and its metric class by class."""

from mmela.seg.metrics import ClasswiseIoUMetric
from mmela.seg.mobilenet_v2 import SegMobileNetV2
from mmela.seg.resnet import SegResNet, SegResNetV1c

__all__ = ['ClasswiseIoUMetric', 'SegMobileNetV2', 'SegResNet', 'SegResNetV1c']
