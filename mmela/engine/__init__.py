"""Training and testing, as the command line tools do it.

>>> from mmela import engine                                              # doctest: +SKIP
>>> cfg = engine.load_config('configs/det/yolox/yolox_nano-ela-t_bccd.py')  # doctest: +SKIP
>>> engine.train(cfg)                                                     # doctest: +SKIP
"""

from mmela.engine.checkpoints.resume import use_resume
from mmela.engine.checks import check_data
from mmela.engine.checks.environment import check_environment
from mmela.engine.checks.weights import check_weights
from mmela.engine.config import load_config
from mmela.engine.flags import (
    draw_predictions,
    keep_predictions,
    use_amp,
    use_auto_scale_lr,
    use_tta,
)
from mmela.engine.test import test
from mmela.engine.toolboxes import scope_of
from mmela.engine.train import train
from mmela.errors import UserError, exit_on_user_error, set_local_rank

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
    'set_local_rank',
    'test',
    'train',
    'use_amp',
    'use_auto_scale_lr',
    'use_resume',
    'use_tta',
]
