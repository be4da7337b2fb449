"""What the command line tools share, callable from Python as well.

>>> from mmela import engine                                              # doctest: +SKIP
>>> cfg = engine.load_config('configs/det/yolox/yolox_nano-ela-t_bccd.py')  # doctest: +SKIP
>>> engine.train(cfg)                                                     # doctest: +SKIP
"""

from mmela.engine.checks.data import check_data
from mmela.engine.checks.environment import check_environment
from mmela.engine.checks.weights import check_weights
from mmela.engine.config import load_config, scope_of
from mmela.engine.resume import use_resume
from mmela.engine.test import draw_predictions, keep_predictions, test, use_tta
from mmela.engine.train import train, use_amp, use_auto_scale_lr
from mmela.errors import UserError, exit_on_user_error

__all__ = [
    'UserError',
    'check_data',
    'check_environment',
    'check_weights',
    'draw_predictions',
    'exit_on_user_error',
    'keep_predictions',
    'load_config',
    'scope_of',
    'test',
    'train',
    'use_amp',
    'use_auto_scale_lr',
    'use_resume',
    'use_tta',
]
