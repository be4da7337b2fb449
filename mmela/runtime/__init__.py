"""What the command line tools share, callable from Python as well.

>>> from mmela import runtime                                              # doctest: +SKIP
>>> cfg = runtime.load_config('configs/det/yolox/yolox_nano-ela-t_bccd.py')  # doctest: +SKIP
>>> runtime.train(cfg)                                                     # doctest: +SKIP
"""

from mmela.runtime.config import load_config, scope_of
from mmela.runtime.data_check import check_data
from mmela.runtime.environment import check_environment
from mmela.runtime.errors import UserError, exit_on_user_error
from mmela.runtime.testing import draw_predictions, keep_predictions, test, use_tta
from mmela.runtime.training import train, use_amp, use_auto_scale_lr, use_resume
from mmela.runtime.weights import check_weights

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
