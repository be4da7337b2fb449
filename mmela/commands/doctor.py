"""``mmela doctor``: does this environment train a network with attention, and if not, why not."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mmela.distributions import distribution_of, install_command
from mmela.engine.checks.environment import check_numpy
from mmela.errors import UserError, cause_of, torchvision_command


class Finding(NamedTuple):
    """One line of the report."""

    subject: str
    is_ok: bool
    says: str  #: what was found, or the problem and the command that fixes it

    def __str__(self) -> str:
        return f'{"ok" if self.is_ok else "PROBLEM":<8} {self.subject:<14} {self.says}'


def diagnose() -> Iterator[Finding]:
    """Looks at the environment, one subject after another.

    Yields:
        A finding for each subject, as soon as it is known. A subject that raises is a problem of
        that subject and does not end the report.
    """
    for subject, look in SUBJECTS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                yield Finding(subject, True, look())
        except (_Problem, UserError) as problem:
            yield Finding(subject, False, str(problem))
        # A broken installation raises anything: an undefined symbol, an assertion on versions.
        except Exception as error:
            yield Finding(subject, False, cause_of(error))


class _Problem(Exception):
    """What is wrong with a subject, and the command that fixes it."""


def _python() -> str:
    return platform.python_version()


def _torch() -> str:
    if not torch.cuda.is_available():
        return f'{torch.__version__}, no GPU'
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f'{torch.__version__}, CUDA {torch.version.cuda}: {", ".join(names)}'


def _numpy() -> str:
    check_numpy()
    return np.__version__


def _opencv() -> str:
    try:
        import cv2
    except ImportError as error:
        raise _Problem(
            f'{cause_of(error)}; `pip install opencv-python-headless{"<4.12" * _is_old_numpy()}`'
        ) from error
    image = np.full((8, 8, 3), 7, np.uint8)
    read: Any = cv2.imdecode(cv2.imencode('.png', image)[1], 1)
    if not np.array_equal(read, image):
        raise _Problem(f'{cv2.__version__} does not read the PNG that it wrote; install it anew')
    return str(cv2.__version__)


def _is_old_numpy() -> bool:
    return np.__version__.startswith('1.')


def _mmengine() -> str:
    name, number = distribution_of('mmengine')
    _import('mmengine.runner', install_command('mmengine'))
    if name == 'mmengine' and _numbers(torch.__version__) >= (2, 6):
        raise _Problem(
            f'mmengine {number} cannot load its own checkpoints with torch {torch.__version__}; '
            '`pip uninstall mmengine`, then `pip install onedl-mmengine`, or torch 2.5 or older'
        )
    return f'{name} {number}'


def _mmcv() -> str:
    name, number = distribution_of('mmcv')
    build = install_command('mmcv')
    _import('mmcv', build)
    if find_spec('mmcv._ext') is None:
        raise _Problem(
            f'{name} {number} has no compiled operators; `pip uninstall {name}`, {build}'
        )
    _import('mmcv._ext', f'`pip uninstall {name}`, {build}')
    from mmcv.ops import nms, roi_align

    devices = ['cpu'] + ['cuda'] * torch.cuda.is_available()
    for device in devices:
        boxes = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 7]], device=device)
        try:
            kept = nms(boxes, torch.tensor([0.9, 0.8], device=device), 0.5)[1]
            pooled = roi_align(
                torch.ones(1, 1, 8, 8, device=device),
                torch.tensor([[0.0, 0, 0, 8, 8]], device=device),
                2,
            )
        except Exception as error:
            raise _Problem(
                f'the operators of {name} {number} do not run on {device} ({cause_of(error)}); '
                f'`pip uninstall {name}`, then on a machine with {device}: {build}'
            ) from error
        if kept.tolist() != [0] or not pooled.eq(1).all():
            raise _Problem(f'nms or roi_align of {name} {number} is wrong on {device}; {build}')
    return f'{name} {number}, nms and roi_align run on {" and ".join(devices)}'


def _torchvision() -> str:
    if find_spec('torchvision') is None:
        return 'not installed; only classification needs it'
    try:
        module = import_module('torchvision')
    except Exception as error:
        raise _Problem(
            f'cannot be imported beside torch {torch.__version__} ({cause_of(error)}); '
            f'{torchvision_command()}'
        ) from error
    return str(module.__version__)


def _toolbox(module: str) -> Callable[[], str]:
    def look() -> str:
        name, number = distribution_of(module)
        if find_spec(module) is None:
            return f'not installed; {install_command(module)} brings it'
        _import(f'{module}.models', install_command(module))
        return f'{name} {number}'

    return look


def _triton() -> str:
    if find_spec('triton') is None:
        return 'not installed; only fused=True needs it'
    number = str(import_module('triton').__version__)
    is_old = _numbers(number) < (3, 2)
    return number + ', too old for fused=True, which needs 3.2; nothing else does' * is_old


def _configs() -> str:
    folder = Path(__file__).parents[1] / '.mim'
    missing = [n for n in ('configs', 'tools', 'model-index.yml') if not (folder / n).exists()]
    if missing:
        raise _Problem(
            f"{folder} lacks {', '.join(missing)}, so `_base_ = 'mmela::...'` finds nothing; "
            'install mmela anew, from a checkout `pip install --no-build-isolation -e .`'
        )
    count = sum(1 for _ in (folder / 'configs').resolve().rglob('*.py'))
    return f"{count} configs for `_base_ = 'mmela::...'`"


def _training() -> str:
    if find_spec('mmdet') is None:
        return 'left out: MMDetection is not installed'
    from mmdet.testing import demo_mm_inputs
    from mmengine.config import Config
    from mmengine.hub import get_config
    from mmengine.registry import MODELS, init_default_scope

    cfg: Config = get_config('mmela::det/yolox/yolox_nano-ela-t_8xb8-300e_coco.py')
    init_default_scope('mmdet')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    cfg.model.data_preprocessor.pop('batch_augments', None)
    model = MODELS.build(cfg.model).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    data = model.data_preprocessor(demo_mm_inputs(2, [[3, 64, 64]] * 2, num_classes=80), True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    optimizer.step()
    if not torch.isfinite(loss):
        raise _Problem(f'the loss of a small ELA detector on {device} is {float(loss)}')
    return f'YOLOX-Nano with ELA-T trained a step on {device}, loss {float(loss):.2f}'


def _import(module: str, fix: str) -> None:
    try:
        import_module(module)
    except Exception as error:
        raise _Problem(f'{module} cannot be imported ({cause_of(error)}); {fix}') from error


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.partition('+')[0].split('.')[:2])


#: What is looked at, in the order of the report.
SUBJECTS: dict[str, Callable[[], str]] = {
    'Python': _python,
    'torch': _torch,
    'NumPy': _numpy,
    'OpenCV': _opencv,
    'MMEngine': _mmengine,
    'MMCV': _mmcv,
    'torchvision': _torchvision,
    'MMDetection': _toolbox('mmdet'),
    'MMSegmentation': _toolbox('mmseg'),
    'MMPreTrain': _toolbox('mmpretrain'),
    'Triton': _triton,
    'configs': _configs,
    'training': _training,
}
