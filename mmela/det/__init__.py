"""Variants of MMDetection's backbones and necks that take plugins."""

from mmela.det.csp_darknet import CSPDarknet
from mmela.det.resnet import DetResNet

__all__ = ['CSPDarknet', 'DetResNet']
