"""Variants of MMPreTrain's backbones that take plugins."""

from mmela.cls.mobilenet_v2 import ClsMobileNetV2
from mmela.cls.resnet import ClsResNet

__all__ = ['ClsMobileNetV2', 'ClsResNet']
