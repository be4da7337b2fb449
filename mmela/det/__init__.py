"""Variants of MMDetection's backbones and necks that take plugins."""

from mmela.det.csp import CSPDarknet, CSPNeXt
from mmela.det.dilated_encoder import DilatedEncoder
from mmela.det.letterbox import ELACodeLetterbox, LetterboxYOLOXHead
from mmela.det.mobilenet_v2 import DetMobileNetV2
from mmela.det.resnet import DetResNet
from mmela.det.yolox_pafpn import YOLOXPAFPN

__all__ = [
    'CSPDarknet',
    'CSPNeXt',
    'DetMobileNetV2',
    'DetResNet',
    'DilatedEncoder',
    'ELACodeLetterbox',
    'LetterboxYOLOXHead',
    'YOLOXPAFPN',
]
