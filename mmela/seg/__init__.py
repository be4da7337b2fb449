"""Variants of MMSegmentation's backbones that take plugins."""

from mmela.seg.resnet import SegResNet, SegResNetV1c

__all__ = ['SegResNet', 'SegResNetV1c']
