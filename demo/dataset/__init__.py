"""The embedded demo data set: rendered scenes of overlapping shapes."""

from demo.dataset.generator import DatasetExistsError, generate
from demo.dataset.scenes import Instance, Scene, render_scene
from demo.dataset.shapes import CLASSES, PALETTE

__all__ = [
    'CLASSES',
    'PALETTE',
    'DatasetExistsError',
    'Instance',
    'Scene',
    'generate',
    'render_scene',
]
