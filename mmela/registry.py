"""The registry of mmela: a child of MMEngine's root ``MODELS``.

The prefixed name, ``type='mmela.ELA'``, resolves from every scope without ``custom_imports``:
MMEngine imports this module when it meets the prefix. The attentions are imported at the first
look-up; a toolbox variant brings in its room, and so its toolbox, only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

from mmela.errors import ConfigError, cause_of, did_you_mean, remedy_for


class Room(NamedTuple):
    """A package of mmela that needs one toolbox."""

    module: str
    toolbox: str
    packages: str  # what pip installs: the maintained distribution, or the original


DET = Room('mmela.det', 'MMDetection', '`pip install onedl-mmdetection` (or mmdet)')
SEG = Room('mmela.seg', 'MMSegmentation', '`pip install onedl-mmsegmentation` (or mmsegmentation)')
CLS = Room('mmela.cls', 'MMPreTrain', "`pip install 'mmela[cls]'` (or mmpretrain)")

ROOMS = {
    'CSPDarknet': DET,
    'CSPNeXt': DET,
    'DetMobileNetV2': DET,
    'DetResNet': DET,
    'DilatedEncoder': DET,
    'LetterboxYOLOXHead': DET,
    'YOLOXPAFPN': DET,
    'ClsMobileNetV2': CLS,
    'ClsResNet': CLS,
    'SegMobileNetV2': SEG,
    'SegResNet': SEG,
    'SegResNetV1c': SEG,
}
TRANSFORM_ROOMS = {'ELACodeLetterbox': DET}
HOOK_ROOMS = {
    'ClsVisualizationHook': CLS._replace(module='mmela.engine.hooks.visualization'),
}


class LazyRegistry(Registry):
    """A registry that imports a room of mmela when one of its names is asked for.

    Args:
        name: What it registers.
        rooms: The names that lie in a room.
        **kwargs: As MMEngine's ``Registry``.
    """

    def __init__(self, name: str, *, rooms: Mapping[str, Room], **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self._rooms = rooms

    def get(self, key: Any) -> type | None:
        """Finds what is registered under a name.

        Args:
            key: A name, with or without the prefix ``mmela.``.

        Returns:
            The class.

        Raises:
            ConfigError: If mmela has no such name, or the toolbox that the class belongs to
                cannot be imported.
        """
        if not isinstance(key, str):
            return super().get(key)
        scope, name = self.split_scope_key(key)
        if scope not in (None, self.scope):
            return super().get(key)
        if name in self._rooms and name not in self._module_dict:
            _import_room(self._rooms[name], name)
        found = super().get(key)
        if found is None:
            names = sorted({*self._module_dict, *self._rooms})
            raise ConfigError(
                f"'mmela.{name}' is not a name of mmela, which has {', '.join(names)}"
                + (self._variants_of(name) or did_you_mean(name, names))
            )
        return found

    def _variants_of(self, name: str) -> str:
        """A half-sentence for who wrote a toolbox's name: ours say which toolbox they are of."""
        ours = [f'mmela.{n} for {r.toolbox}' for n, r in self._rooms.items() if n.endswith(name)]
        return f'; write {" or ".join(ours)}.' if ours else ''

    def __contains__(self, key: str) -> bool:
        try:
            return self.get(key) is not None
        except ConfigError:
            return False


def _import_room(room: Room, name: str) -> None:
    try:
        import_module(room.module)
    # A toolbox fails in many ways when it is imported: a missing package, a compiled extension
    # built for another torch, a version assertion. Whoever asked for the name needs the cause.
    except Exception as error:
        raise ConfigError(
            f"'mmela.{name}' needs {room.toolbox}, which could not be imported "
            f'({cause_of(error)}); {remedy_for(error, f"install it with {room.packages}")}.'
        ) from error


MODELS = LazyRegistry(
    'model',
    rooms=ROOMS,
    parent=MMENGINE_MODELS,
    scope='mmela',
    locations=['mmela.attentions', 'mmela.plugins.with_plugins'],
)
# All of them lie in rooms. A registry without a location would make MMEngine look for
# `mmela.utils` and warn; this module is one that is there.
TRANSFORMS = LazyRegistry(
    'transform',
    rooms=TRANSFORM_ROOMS,
    parent=MMENGINE_TRANSFORMS,
    scope='mmela',
    locations=['mmela.registry'],
)
HOOKS = LazyRegistry(
    'hook',
    rooms=HOOK_ROOMS,
    parent=MMENGINE_HOOKS,
    scope='mmela',
    locations=['mmela.engine.hooks.recompute', 'mmela.engine.hooks.attention_maps'],
)
