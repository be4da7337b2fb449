"""Variants of MMPreTrain's backbones that take plugins, and of its drawing of predictions."""

from mmela.cls.mobilenet_v2 import ClsMobileNetV2
from mmela.cls.resnet import ClsResNet
from mmela.cls.visualization_hook import ClsVisualizationHook

__all__ = ['ClsMobileNetV2', 'ClsResNet', 'ClsVisualizationHook']
