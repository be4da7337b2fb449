"""The registries of mmela, children of MMEngine's root registries.

The prefixed name, ``type='mmela.ELA'``, resolves from every scope without ``custom_imports``:
MMEngine imports this module when it meets the prefix. A class that needs a toolbox is imported,
together with that toolbox, when its name is looked up.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

from mmela.distributions import install_command
from mmela.errors import ConfigError, cause_of, did_you_mean, remedy_for


class LazyModule(NamedTuple):
    """A module of mmela that needs a toolbox and is imported at the first look-up of its names."""

    module: str
    toolbox: str
    requires: str  # the module of the toolbox

    def import_for(self, name: str) -> None:
        """Imports the module.

        Args:
            name: The name that was looked up, for the message.

        Raises:
            ConfigError: If the toolbox cannot be imported.
        """
        try:
            import_module(self.module)
        # A toolbox that is installed can fail in many ways: a package that it needs is missing, an
        # extension was compiled for another torch, an assertion refuses a version.
        except Exception as error:
            install = f'install it with {install_command(self.requires)}'
            raise ConfigError(
                f"'mmela.{name}' needs {self.toolbox}, which could not be imported "
                f'({cause_of(error)}); {remedy_for(error, install)}.'
            ) from error


DET = LazyModule('mmela.det', 'MMDetection', 'mmdet')
SEG = LazyModule('mmela.seg', 'MMSegmentation', 'mmseg')
CLS = LazyModule('mmela.cls', 'MMPreTrain', 'mmpretrain')

LAZY_MODELS = {
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
LAZY_TRANSFORMS = {'ELACodeLetterbox': DET}
LAZY_METRICS = {'ClasswiseIoUMetric': SEG}
LAZY_HOOKS = {
    'ClsVisualizationHook': CLS._replace(module='mmela.engine.hooks.visualization'),
}


class LazyRegistry(Registry):
    """A registry that imports a :class:`LazyModule` when one of its names is looked up.

    Args:
        name: What the registry holds, as in MMEngine.
        lazy: The names that lie in lazy modules.
        **kwargs: As MMEngine's ``Registry``.
    """

    def __init__(self, name: str, *, lazy: Mapping[str, LazyModule], **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self._lazy = lazy

    def get(self, key: Any) -> type | None:
        """Looks a class up.

        Args:
            key: Its name, with or without the prefix ``mmela.``.

        Returns:
            The class.

        Raises:
            ConfigError: If mmela has no such name, or the toolbox of the class cannot be imported.
        """
        if not isinstance(key, str):
            return super().get(key)
        scope, name = self.split_scope_key(key)
        if scope not in (None, self.scope):
            return super().get(key)
        if name in self._lazy and name not in self._module_dict:
            self._lazy[name].import_for(name)
        found = super().get(key)
        if found is None:
            names = sorted({*self._module_dict, *self._lazy})
            raise ConfigError(
                f"expected a name of mmela ({', '.join(names)}), got 'mmela.{name}'"
                + (self._suggest_variants(name) or did_you_mean(name, names))
            )
        return found

    def _suggest_variants(self, name: str) -> str:
        """Suggests the variants of a toolbox's network: ``MobileNetV2`` has one per toolbox."""
        variants = [f'mmela.{n} for {m.toolbox}' for n, m in self._lazy.items() if n.endswith(name)]
        return f'; write {" or ".join(variants)}.' if variants else ''

    def __contains__(self, key: str) -> bool:
        try:
            return self.get(key) is not None
        except ConfigError:
            return False


MODELS = LazyRegistry(
    'model',
    lazy=LAZY_MODELS,
    parent=MMENGINE_MODELS,
    scope='mmela',
    locations=['mmela.attentions', 'mmela.plugins.with_plugins'],
)
# All transforms and metrics are lazy. Without a location MMEngine would look for `mmela.utils` and
# warn that it is missing, so this module stands for one.
TRANSFORMS = LazyRegistry(
    'transform',
    lazy=LAZY_TRANSFORMS,
    parent=MMENGINE_TRANSFORMS,
    scope='mmela',
    locations=['mmela.registry'],
)
METRICS = LazyRegistry(
    'metric',
    lazy=LAZY_METRICS,
    parent=MMENGINE_METRICS,
    scope='mmela',
    locations=['mmela.registry'],
)
HOOKS = LazyRegistry(
    'hook',
    lazy=LAZY_HOOKS,
    parent=MMENGINE_HOOKS,
    scope='mmela',
    locations=['mmela.engine.hooks.recompute', 'mmela.engine.hooks.attention_maps'],
)
