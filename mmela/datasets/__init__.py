"""The embedded demo data set: rendered scenes of overlapping shapes."""

from mmela.datasets.generator import DatasetExistsError, generate
from mmela.datasets.scenes import Instance, Scene, render_scene
from mmela.datasets.shapes import CLASSES, PALETTE

__all__ = [
    'CLASSES',
    'PALETTE',
    'DatasetExistsError',
    'Instance',
    'Scene',
    'generate',
    'render_scene',
]
