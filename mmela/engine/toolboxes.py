"""The toolboxes that a config may belong to."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

from mmengine.config import Config

from mmela.distributions import install_command
from mmela.errors import UserError


class Toolbox(NamedTuple):
    """Names of one toolbox."""

    title: str
    task: str


#: The toolboxes by their module, which is also the default scope of their configs.
TOOLBOXES = {
    'mmdet': Toolbox('MMDetection', 'detection'),
    'mmseg': Toolbox('MMSegmentation', 'segmentation'),
    'mmpretrain': Toolbox('MMPreTrain', 'classification'),
}


def scope_of(cfg: Config) -> str:
    """The toolbox that a config belongs to, which determines its task.

    Returns:
        Its ``default_scope``: ``'mmdet'``, ``'mmseg'``, ``'mmpretrain'`` or another toolbox's.

    Raises:
        UserError: If the config has no ``default_scope`` or no ``model``.
    """
    scope = cfg.get('default_scope')
    if scope is None or cfg.get('model') is None:
        missing = 'model' if cfg.get('model') is None else 'default_scope'
        raise UserError(
            f"{cfg.filename or 'the config'} defines no '{missing}': it is a base for other "
            'configs; run one that inherits from it.'
        )
    return scope


def toolbox_of(scope: str) -> Toolbox:
    """The names of a toolbox.

    Returns:
        Its entry in :data:`TOOLBOXES`; for another toolbox its module stands for every name.
    """
    return TOOLBOXES.get(scope, Toolbox(scope, scope))


def is_installed(module: str) -> bool:
    """Whether a module can be found; it is not imported.

    Args:
        module: Its name, such as ``'mmcv._ext'``; its parents are imported.
    """
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent is missing, or it is not a valid name
        return False


def check_installed(scope: str) -> None:
    """Checks that a toolbox is installed, without importing it.

    Raises:
        UserError: If it is not installed. The message has the ``pip`` command.
    """
    if not is_installed(scope):
        raise UserError(
            f'the config is for {toolbox_of(scope).title}, which is not installed: '
            f'{install_command(scope)}.'
        )
