"""The layers of a ``plugins`` list: how they are built, added to a module and run."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

from mmcv.cnn.bricks.plugin import infer_abbr
from mmengine.registry import MODELS, Registry
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mmela.errors import ConfigError, did_you_mean, listed
from mmela.plugins.grammar import Plugin


def build_plugin(plugin: Plugin, in_channels: int) -> tuple[str, nn.Module]:
    """Builds the layer of one entry.

    Args:
        plugin: The entry.
        in_channels: Channels of the map that the layer is given.

    Returns:
        The name of the layer, which is the abbreviation of its type and its postfix, and the layer.

    Raises:
        ConfigError: If the type is unknown or does not take the arguments.
    """
    arguments = dict(plugin.cfg)
    layer_type, postfix = arguments.pop('type'), arguments.pop('postfix', '')
    if 'in_channels' in arguments:
        raise ConfigError(
            f'{plugin.label}: leave in_channels out; it is the width of the map, {in_channels} '
            'here, and set by the network.'
        )
    if postfix is None or not re.fullmatch(r'\w*', str(postfix)):
        raise ConfigError(
            f'{plugin.label}: expected postfix to hold letters, digits and underscores, as it '
            f'becomes part of a name, got {postfix!r}.'
        )
    layer_class = _resolve(layer_type, plugin.label)
    arguments['in_channels'] = in_channels
    return f'{infer_abbr(layer_class)}{postfix}', _build(layer_class, arguments, plugin.label)


def _resolve(layer_type: Any, label: str) -> Any:
    """The class of a plugin: looked up in the current scope, then in the root registry."""
    if inspect.isclass(layer_type):
        return layer_type
    found, names = None, set()
    try:
        with MODELS.switch_scope_and_registry(None) as registry:
            names = _registered_names(registry)
            found = registry.get(layer_type)
    except ConfigError as error:
        raise ConfigError(f'{label}: {error}') from error
    except Exception:  # MMEngine raises for some unknown names and returns None for others
        found = None
    if found is None:
        raise ConfigError(
            f'{label}: no layer is registered as {layer_type!r} (write those of mmela with their '
            "prefix, as 'mmela.ELA')" + did_you_mean(layer_type, names)
        )
    return found


def _registered_names(registry: Registry | None) -> set[str]:
    if registry is None:
        return set()
    return {*registry.module_dict, *_registered_names(registry.parent)}


def _build(layer_class: Any, arguments: dict[str, Any], label: str) -> nn.Module:
    signature = inspect.signature(layer_class)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        allowed = list(signature.parameters)
        unknown = [name for name in arguments if name not in allowed]
        hint = did_you_mean(unknown[0], allowed) if unknown else '.'
        raise ConfigError(
            f'{label}: {layer_class.__name__} takes {", ".join(allowed)}, but {error}{hint}'
        ) from error
    try:
        layer = layer_class(**arguments)
    except ConfigError as error:
        raise ConfigError(f'{label}: {error}') from error
    # Layers of others refuse a value with any of these.
    except (
        ArithmeticError,
        AssertionError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise ConfigError(
            f'{label}: {layer_class.__name__} does not take these arguments '
            f'({type(error).__name__}: {error}).'
        ) from error
    # MMCV's ContextBlock builds with ratio=0, and fails when it runs.
    if any(not is_lazy(p) and p.numel() == 0 for p in layer.parameters()):
        given = listed(f'{name}={value!r}' for name, value in arguments.items())
        raise ConfigError(
            f'{label}: {layer_class.__name__} does not take these arguments '
            f'({given}): one of its layers would have no channels.'
        )
    return layer


def add_plugins(
    module: nn.Module, plugins: Iterable[Plugin], in_channels: int, suffix: str = ''
) -> list[str]:
    """Builds the layers of some entries and adds them to a module.

    Their names are kept in ``module.plugin_names`` too. A list of names, unlike one of layers,
    refers to the right layers in a deep copy of the module.

    Args:
        module: The module; a ``Sequential`` runs them behind what it holds.
        plugins: The entries, in the order in which they run.
        in_channels: Channels of the map that they are given.
        suffix: Appended to their names, where a module holds the layers of several places.

    Returns:
        The names under which they were added.

    Raises:
        ConfigError: If a name is taken, or a layer cannot be built.
    """
    names = []
    for plugin in plugins:
        name, layer = build_plugin(plugin, in_channels)
        name += suffix
        if hasattr(module, name):
            raise ConfigError(
                f"{plugin.label}: the name '{name}' is taken by an earlier plugin; give this one a "
                f"postfix, cfg=dict(type={plugin.cfg['type']!r}, ..., postfix='2')."
            )
        module.add_module(name, layer)
        names.append(name)
    module.plugin_names = [*getattr(module, 'plugin_names', ()), *names]
    return names


def run_plugins(module: nn.Module, names: Iterable[str], x: Tensor) -> Tensor:
    """Runs some layers of a module one after another.

    Args:
        module: The module that holds them.
        names: Their names, as :func:`add_plugins` returned them.
        x: Input of the first one.

    Returns:
        Output of the last one; ``x`` itself if there are none.
    """
    for name in names:
        x = getattr(module, name)(x)
    return x
