"""Checks the ``plugins`` of the toolboxes' own networks before these are built.

Those networks answer an invalid list with a bare assertion. The networks of mmela check their own
lists when they are built. :mod:`mmela.plugins` imports MMCV and is imported inside functions, since
:func:`~mmela.engine.checks.environment.check_packages` has to report a broken MMCV first.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mmela.engine.checks.plugin_probe import POSITIONS, ProbedNetwork, build_cheaply, probe
from mmela.engine.log import log_once
from mmela.engine.toolboxes import TOOLBOXES
from mmela.errors import ConfigError

if TYPE_CHECKING:
    from mmela.plugins import Plugin

#: How mmela's names begin for a network that has the same name in several toolboxes.
_PREFIXES = {'mmdet': 'Det', 'mmseg': 'Seg', 'mmpretrain': 'Cls'}
#: The toolboxes' residual networks, with mmela's version of each. In MMDetection and
#: MMSegmentation their Bottleneck blocks take plugins and their basic blocks do not.
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


def check_plugins(cfg: Config, splits: Sequence[str]) -> None:
    """Checks every ``plugins`` list of a toolbox's network.

    Warns where the network uses only the last of several plugins at one position.

    Raises:
        ConfigError: If the network takes no plugins, or not these, or not there. The message has
            the config key and what to write.
    """
    for node, key, scope in _nodes_with_plugins(
        cfg.get('model'), 'model', cfg.get('default_scope')
    ):
        prefix, _, kind = node['type'].rpartition('.')
        toolbox = prefix or scope
        if toolbox not in TOOLBOXES:
            continue
        with MODELS.switch_scope_and_registry(toolbox) as registry:
            network_class = registry.get(f'{toolbox}.{kind}')
            base = _toolbox_class(network_class, toolbox)
            if base is None:
                continue
            if not _takes_plugins(network_class):
                raise ConfigError(f'{key}.plugins: {_suggest_network(toolbox, base.__name__)}')
            if node['plugins']:  # with an empty list the toolbox builds nothing
                _check_network(node, key, toolbox, base.__name__)


def _nodes_with_plugins(
    node: Any, key: str, scope: str | None
) -> Iterator[tuple[dict, str, str | None]]:
    """Nodes with a type and plugins, with their keys and the scopes in which types resolve."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _nodes_with_plugins(item, f'{key}.{index}', scope)
    elif isinstance(node, dict):
        scope = node.get('_scope_') or scope
        if node.get('plugins') is not None and isinstance(node.get('type'), str):
            yield node, key, scope
        for name, value in node.items():
            yield from _nodes_with_plugins(value, f'{key}.{name}', scope)


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


def _parameters(function: Any) -> Iterable[str]:
    return inspect.signature(function).parameters if function is not object else ()


def _takes_plugins(network_class: type) -> bool:
    return any(
        'plugins' in inspect.signature(vars(base)['__init__']).parameters
        for base in network_class.__mro__
        if '__init__' in vars(base)
    )


def _suggest_network(toolbox: str, kind: str) -> str:
    """A sentence that says what to write for a network that takes no plugins."""
    prefix = _PREFIXES[toolbox]
    package = import_module(f'mmela.{prefix.lower()}')
    variants = [n for n in package.__all__ if _takes_plugins(getattr(package, n))]
    same = [f"type='mmela.{name}'" for name in (kind, prefix + kind) if name in variants]
    written = _RESNETS.get((toolbox, kind)) or (same[0] if same else None)
    problem = f'{kind} of {TOOLBOXES[toolbox].title} takes no plugins'
    if written:
        return f'{problem}; write {written}, which is the same network and takes them.'
    return (
        f'{problem}, and mmela has no variant of it; leave them out, or choose a network with '
        f'places for them: a ResNet, or one of {", ".join(f"mmela.{name}" for name in variants)}.'
    )


def _check_network(node: dict, key: str, toolbox: str, kind: str) -> None:
    from mmela.plugins import parse_plugins

    title, ours = TOOLBOXES[toolbox].title, _RESNETS.get((toolbox, kind))

    def build(plugins: list[dict] | None) -> nn.Module:
        return MODELS.build({**copy.deepcopy(node), 'plugins': plugins})

    try:
        probed = probe(build)
    except Exception as error:
        try:
            build_cheaply(lambda: build(None))
        except Exception:
            return  # something else is wrong, and building the network will report it
        if ours:
            raise ConfigError(
                f'{key}.plugins: the basic blocks of {kind} of {title} take no plugins; write '
                f'{ours}, whose blocks take them at every depth.'
            ) from error
        raise ConfigError(
            f'{key}.plugins: {kind} of {title} cannot be built with plugins '
            f'({type(error).__name__}: {error}); set it to None.'
        ) from error
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
        _warn_of_unused_plugins(plugins, f'{kind} of {title}', ours)


def _check_layers(plugins: Sequence[Plugin], probed: ProbedNetwork, title: str) -> None:
    """Builds each layer once for every stage, and compares names and widths."""
    from mmela.plugins import build_plugin

    names: set[tuple[int, str]] = set()
    for plugin in plugins:
        for stage in _stages_of(plugin):
            built_for, of_map = probed.widths[stage][plugin.position]
            name, layer = build_cheaply(partial(build_plugin, plugin, built_for))
            if built_for != of_map and not _takes_map(layer, of_map):
                used = [probed.widths[i] for i in _stages_of(plugin)]
                right = [p for p in POSITIONS if all(w[p].built_for == w[p].of_map for w in used)]
                raise ConfigError(
                    f'{plugin.label}: at {plugin.position} of layer{stage + 1} {title} builds the '
                    f'layer for {built_for} channels, and the map there has {of_map}; the width is '
                    f'right at {" and ".join(right) or "no position of this network"}.'
                )
            if (stage, name) in names:
                raise ConfigError(
                    f"{plugin.label}: the network's blocks have a layer named '{name}' already; "
                    f"add a postfix, cfg=dict(type={plugin.cfg['type']!r}, ..., postfix='2')."
                )
            names.add((stage, name))


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


def _warn_of_unused_plugins(plugins: Sequence[Plugin], network: str, ours: str | None) -> None:
    """Warns of plugins whose output the network's blocks discard."""
    unused = [
        plugin.label
        for i, plugin in enumerate(plugins)
        if any(
            later.position == plugin.position and {*_stages_of(later)} & {*_stages_of(plugin)}
            for later in plugins[i + 1 :]
        )
    ]
    if unused:
        fix = 'leave one plugin a position'
        if ours:
            fix = f'write {ours}, which runs them one after another'
        log_once(
            f'{" and ".join(unused)}: no effect where another plugin follows at the same '
            f'position, because {network} gives both the same map and keeps the output of the '
            f'last; {fix}.',
            logging.WARNING,
        )
