"""mmela: Efficient Local Attention (arXiv 2403.01123) for OpenMMLab.

Importing it loads no toolbox. It makes configs inherit from ``mmela::`` and ``mmseg::``, and
registers :class:`ELA` under its plain name too, beside mmcv's plugin layers.
"""

from importlib import import_module
from typing import Any

from mmela.version import __version__

try:
    import mmengine  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        f'mmela needs PyTorch and MMEngine, but {error.name or error} could not be imported; '
        'install PyTorch for your machine, then `pip install onedl-mmengine`, or for torch 2.1 '
        '`pip install mmengine`.'
    ) from error

from mmela.attentions import CBAM, ECA, ELA, SE, CoordAtt
from mmela.setup_openmmlab import register_config_packages, register_plain_name

register_config_packages()
register_plain_name('ELA', ELA)

__all__ = ['CBAM', 'ECA', 'ELA', 'SE', 'CoordAtt', '__version__', 'predict']


def __getattr__(name: str) -> Any:
    if name == 'predict':  # it needs OpenCV and what a toolbox's inferencer needs
        return import_module('mmela.commands.predict').predict
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
