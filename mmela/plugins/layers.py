"""The layers of a ``plugins`` list: built, added to a module, run and initialised."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mmcv.cnn.bricks.plugin import infer_abbr
from mmengine.registry import MODELS, Registry
from torch import Tensor, nn

from mmela.errors import ConfigError, did_you_mean
from mmela.plugins.grammar import Plugin


def build_plugin(plugin: Plugin, in_channels: int) -> tuple[str, nn.Module]:
    """Builds the layer of one entry.

    Args:
        plugin: The entry.
        in_channels: Channels of the map that the layer will be given.

    Returns:
        Its name, the abbreviation of its type and its postfix, and the layer.

    Raises:
        ConfigError: If the type is unknown or does not take the arguments.
    """
    arguments = dict(plugin.cfg)
    layer_type = arguments.pop('type')
    postfix = arguments.pop('postfix', '')
    layer_class = _resolve(layer_type, plugin.label)
    if 'in_channels' in arguments:
        raise ConfigError(
            f'{plugin.label}: in_channels is the width of the place, {in_channels} here, and is '
            'not for the config to say; leave it out.'
        )
    if not re.fullmatch(r'\w*', str(postfix)) or postfix is None:
        raise ConfigError(
            f'{plugin.label}: postfix becomes part of a name and takes letters, digits and '
            f'underscores, and {postfix!r} was given.'
        )
    arguments['in_channels'] = in_channels
    try:
        inspect.signature(layer_class).bind(**arguments)
    except TypeError as error:
        allowed = list(inspect.signature(layer_class).parameters)
        unknown = [name for name in arguments if name not in allowed]
        hint = did_you_mean(unknown[0], allowed) if unknown else '.'
        raise ConfigError(
            f'{plugin.label}: {layer_class.__name__} takes {", ".join(allowed)}, and {error}' + hint
        ) from error
    try:
        layer = layer_class(**arguments)
    except ConfigError as error:
        raise ConfigError(f'{plugin.label}: {error}') from error
    # Layers of others refuse a value in ways of their own.
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f'{plugin.label}: {layer_class.__name__} does not take these arguments '
            f'({type(error).__name__}: {error}).'
        ) from error
    return f'{infer_abbr(layer_class)}{postfix}', layer


def _resolve(layer_type: Any, label: str) -> Any:
    """The class of a plugin: looked up in the scope in force, then in the root registry."""
    if inspect.isclass(layer_type):
        return layer_type
    found, names = None, set()
    try:
        with MODELS.switch_scope_and_registry(None) as registry:
            names = _names_in(registry)
            found = registry.get(layer_type)
    except ConfigError as error:
        raise ConfigError(f'{label}: {error}') from error
    except Exception:  # MMEngine answers some unknown names with None and some by raising
        found = None
    if found is None:
        raise ConfigError(
            f'{label}: no layer is registered as {layer_type!r} (those of mmela are written with '
            "their prefix, as 'mmela.ELA')" + did_you_mean(layer_type, names)
        )
    return found


def _names_in(registry: Registry | None) -> set[str]:
    """What a registry and its parents have registered."""
    return set() if registry is None else {*registry.module_dict, *_names_in(registry.parent)}


def add_plugins(
    module: nn.Module, plugins: Iterable[Plugin], in_channels: int, suffix: str = ''
) -> list[str]:
    """Builds the layers of some entries and makes them submodules.

    Args:
        module: Where they go; a ``Sequential`` runs them behind what it holds.
        plugins: The entries, in the order in which they are to run.
        in_channels: Channels of the map that they will be given.
        suffix: Ends their names, where the module holds the layers of several places.

    Returns:
        The names under which they were added.

    Raises:
        ConfigError: If a name is taken, or as :func:`build_plugin` says.
    """
    names = []
    for plugin in plugins:
        name, layer = build_plugin(plugin, in_channels)
        name += suffix
        if hasattr(module, name):
            raise ConfigError(
                f"{plugin.label}: its place holds '{name}' already; give the second one a postfix, "
                f"cfg=dict(type={plugin.cfg['type']!r}, ..., postfix='2')."
            )
        module.add_module(name, layer)
        names.append(name)
    return names


def run_plugins(module: nn.Module, names: Iterable[str], x: Tensor) -> Tensor:
    """Runs some layers of a module one after another.

    Args:
        module: What holds them.
        names: Their names, as :func:`add_plugins` returned them.
        x: What the first one is given.

    Returns:
        What the last one returns; ``x`` itself if there are none.
    """
    for name in names:
        x = getattr(module, name)(x)
    return x


def init_with_plugins(
    init_network: Callable[[], None], layers: Iterable[nn.Module], init_cfg: Any = None
) -> None:
    """Initialises a network, and those of its layers that can do it themselves and have not.

    Needed where layers stand inside a module without ``init_weights``, such as a plain
    ``nn.Sequential``, at which the recursion of MMEngine ends. Its order is kept: the network's
    rules, then the layers' own, and a checkpoint has the last word.

    Args:
        init_network: The network's ``init_weights`` as it is without plugins.
        layers: The plugins.
        init_cfg: The network's; if it names a checkpoint, that may hold the layers too.
    """
    is_pretrained = _names_checkpoint(init_cfg)
    if not is_pretrained:
        init_network()
    for layer in layers:
        if hasattr(layer, 'init_weights') and not getattr(layer, 'is_init', False):
            layer.init_weights()
    if is_pretrained:
        init_network()


def _names_checkpoint(init_cfg: Any) -> bool:
    entries = init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]
    return any(entry and entry.get('type') == 'Pretrained' for entry in entries)


def warn_if_frozen(owner: str, frozen_stages: int, places: Mapping[str, Sequence[Plugin]]) -> None:
    """Says once that freezing early stages freezes the new layers in them too.

    Args:
        owner: Whose stages are frozen, for the message.
        frozen_stages: The owner's argument of that name.
        places: The frozen stages by name, with the plugins that they hold.
    """
    holding = [name for name, plugins in places.items() if plugins]
    if holding:
        warnings.warn(
            f'frozen_stages={frozen_stages} of {owner} also freezes the plugins in '
            f'{", ".join(holding)}: unless a checkpoint holds them, they stay as they were '
            'initialised. Leave these stages out with `stages`, or freeze fewer.',
            stacklevel=3,
        )
