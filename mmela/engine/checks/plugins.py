"""Looks at the ``plugins`` of the toolboxes' own networks before these are built.

Those networks answer a mistake there with a bare assertion, so it is looked for first and told
in a sentence. The networks of mmela check their own lists.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mmela.engine.checks.plugin_probe import POSITIONS, ProbedNetwork, build_cheaply, probe
from mmela.engine.notices import tell
from mmela.errors import ConfigError
from mmela.plugins import Plugin, build_plugin, parse_plugins
from mmela.registry import ROOMS

#: How the names of mmela begin whose toolbox has the same name, and the toolbox's title.
_TOOLBOXES = {
    'mmdet': ('Det', 'MMDetection'),
    'mmseg': ('Seg', 'MMSegmentation'),
    'mmpretrain': ('Cls', 'MMPreTrain'),
}
#: The toolboxes' residual networks, with what to write for the same one of mmela. In MMDetection
#: and MMSegmentation their Bottleneck blocks take plugins and their basic blocks do not.
_RESNETS = {
    ('mmdet', 'ResNet'): "type='mmela.DetResNet'",
    ('mmdet', 'ResNetV1d'): "type='mmela.DetResNet', deep_stem=True, avg_down=True",
    ('mmseg', 'ResNet'): "type='mmela.SegResNet'",
    ('mmseg', 'ResNetV1c'): "type='mmela.SegResNetV1c'",
    ('mmseg', 'ResNetV1d'): "type='mmela.SegResNet', deep_stem=True, avg_down=True",
    ('mmpretrain', 'ResNet'): "type='mmela.ClsResNet'",
    ('mmpretrain', 'ResNetV1c'): "type='mmela.ClsResNet', deep_stem=True",
    ('mmpretrain', 'ResNetV1d'): "type='mmela.ClsResNet', deep_stem=True, avg_down=True",
}
_BASIC_DEPTHS = (18, 34)


def check_plugins(cfg: Config) -> None:
    """Checks every ``plugins`` list that stands in a network of a toolbox.

    Warns where the network runs only the last of several plugins at one position.

    Args:
        cfg: The config; its toolbox has to be importable.

    Raises:
        ConfigError: If the network takes no plugins, or not these, or not there. The message names
            the config key and what to write.
    """
    scope = cfg.get('default_scope')
    for node, key, here in _with_plugins(cfg.get('model'), 'model', scope):
        toolbox, _, kind = node['type'].rpartition('.')
        toolbox = toolbox or here
        if toolbox not in _TOOLBOXES:
            continue
        with MODELS.switch_scope_and_registry(toolbox) as registry:
            network_class = registry.get(f'{toolbox}.{kind}')
        base = _toolbox_class(network_class, toolbox)
        if base is None:
            continue
        if not _takes_plugins(network_class):
            _check_substitute(key, toolbox, base.__name__)
        elif node['plugins']:
            # An empty list is valid: the toolbox's blocks are given nothing then.
            _check_network(node, key, toolbox, base.__name__)


def _with_plugins(node: Any, key: str, scope: str | None) -> Iterator[tuple[dict, str, str | None]]:
    """Nodes with a type and plugins, each with its key and the scope that its type is looked in."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _with_plugins(item, f'{key}.{index}', scope)
    elif isinstance(node, dict):
        scope = node.get('_scope_') or scope
        if node.get('plugins') is not None and isinstance(node.get('type'), str):
            yield node, key, scope
        for name, value in node.items():
            yield from _with_plugins(value, f'{key}.{name}', scope)


def _toolbox_class(network_class: Any, toolbox: str) -> type | None:
    """The toolbox's class that a network is or derives from, if it has that one's grammar.

    A class of the user's own that takes ``plugins`` itself may have a grammar of its own.
    """
    for base in network_class.__mro__ if inspect.isclass(network_class) else ():
        if base.__module__.split('.')[0] == toolbox:
            return base
        own = vars(base)
        if 'make_stage_plugins' in own or 'plugins' in _parameters(own.get('__init__', object)):
            return None
    return None


def _takes_plugins(network_class: type) -> bool:
    classes = network_class.__mro__
    return any('plugins' in _parameters(vars(c).get('__init__', object)) for c in classes)


def _parameters(function: Callable) -> Iterable[str]:
    return inspect.signature(function).parameters if function is not object else ()


def _check_substitute(key: str, toolbox: str, kind: str) -> None:
    """Answers plugins in a network that refuses them, with what takes them instead."""
    prefix, title = _TOOLBOXES[toolbox]
    room = f'mmela.{prefix.lower()}'
    ours = [n for n in (kind, prefix + kind) if n in ROOMS and ROOMS[n].module == room]
    written = _RESNETS.get((toolbox, kind)) or (f"type='mmela.{ours[0]}'" if ours else None)
    if written:
        raise ConfigError(
            f'{key}.plugins: {kind} of {title} takes no plugins; write {written}, '
            'which is the same network and takes them.'
        )
    variants = ', '.join(f'mmela.{n}' for n, r in ROOMS.items() if r.module == room)
    raise ConfigError(
        f'{key}.plugins: {kind} of {title} takes no plugins, and mmela has no variant of it; leave '
        f'them out, or take a network that has places for them: a ResNet, or one of {variants}.'
    )


def _check_network(node: dict, key: str, toolbox: str, kind: str) -> None:
    title = _TOOLBOXES[toolbox][1]
    if (toolbox, kind) in _RESNETS and node.get('depth') in _BASIC_DEPTHS:
        raise ConfigError(
            f'{key}.plugins: {kind} of {title} has basic blocks at depth {node["depth"]}, and '
            f'those take no plugins; write {_RESNETS[toolbox, kind]}, which takes them at every '
            'depth.'
        )
    with MODELS.switch_scope_and_registry(toolbox) as registry:

        def build(plugins: list[dict] | None) -> nn.Module:
            return registry.build({**copy.deepcopy(node), 'plugins': plugins})

        try:
            probed = probe(build)
        except Exception as error:
            _raise_if_plugins_are_the_cause(build, f'{key}.plugins: {kind} of {title}', error)
            return
        if probed is None:
            return
        plugins = parse_plugins(
            node['plugins'],
            owner=f'{toolbox}.{kind} ({key})',
            positions=POSITIONS,
            num_stages=len(probed.widths),
        )
        _check_layers(plugins, probed, title)
    if not probed.is_chained:
        _warn_of_lost_plugins(plugins, f'{kind} of {title}', _RESNETS.get((toolbox, kind)))


def _raise_if_plugins_are_the_cause(
    build: Callable[[list[dict] | None], nn.Module], network: str, error: Exception
) -> None:
    """Says that a network takes no plugins if it can be built without them."""
    try:
        build_cheaply(lambda: build(None))
    except Exception:
        return  # something else is wrong with it, and the runner will say what
    raise ConfigError(
        f'{network} cannot be built with plugins ({type(error).__name__}: {error}); set it to None.'
    ) from error


def _check_layers(plugins: list[Plugin], probed: ProbedNetwork, title: str) -> None:
    """Builds each layer once for every stage, and looks at names and widths."""
    taken: set[tuple[int, str]] = set()
    for plugin in plugins:
        for stage in _stages_of(plugin):
            width = probed.widths[stage][plugin.position]
            name, layer = build_cheaply(partial(build_plugin, plugin, width.built_for))
            if width.built_for != width.of_map and not _takes_map(layer, width.of_map):
                raise ConfigError(
                    f'{plugin.label}: at {plugin.position} of layer{stage + 1} {title} builds the '
                    f'layer for {width.built_for} channels, and the map there has {width.of_map}; '
                    + _right_positions(plugin, probed)
                )
            if (stage, name) in taken:
                raise ConfigError(
                    f"{plugin.label}: a block of that network holds each name once, and '{name}' "
                    'is there already, perhaps at another position; give the second one a '
                    f"postfix, cfg=dict(type={plugin.cfg['type']!r}, ..., postfix='2')."
                )
            taken.add((stage, name))


def _stages_of(plugin: Plugin) -> list[int]:
    return [index for index, is_used in enumerate(plugin.stages) if is_used]


def _takes_map(layer: nn.Module, channels: int) -> bool:
    """Whether a layer takes a map of another width than its own, as one without weights may."""
    device = next(layer.parameters(), torch.empty(0, device='meta')).device
    try:
        layer.eval()(torch.empty(1, channels, 8, 8, device=device))
    except Exception:
        return False
    return True


def _right_positions(plugin: Plugin, probed: ProbedNetwork) -> str:
    used = [probed.widths[stage] for stage in _stages_of(plugin)]
    right = [p for p in POSITIONS if all(w[p].built_for == w[p].of_map for w in used)]
    if not right:
        return 'no position of this network has the right width.'
    return f'the width is right at {" and ".join(right)}.'


def _warn_of_lost_plugins(plugins: list[Plugin], network: str, substitute: str | None) -> None:
    """Warns of plugins whose output the blocks throw away."""
    followed = [
        plugin.label
        for i, plugin in enumerate(plugins)
        if any(
            later.position == plugin.position and set(_stages_of(later)) & set(_stages_of(plugin))
            for later in plugins[i + 1 :]
        )
    ]
    if followed:
        way_out = (
            f'write {substitute}, which runs them one after another'
            if substitute
            else 'leave one plugin a position'
        )
        tell(
            f'{" and ".join(followed)}: no effect where another plugin follows at the same '
            f"position, because {network} hands both the same map and keeps the last one's "
            f'output; {way_out}.',
            warning=True,
        )
