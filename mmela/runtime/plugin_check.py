"""Looks at the ``plugins`` of the toolboxes' own networks before these are built.

Those networks answer a mistake there with a bare assertion, so it is looked for first and told
in a sentence. The networks of mmela check their own lists.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS

from mmela.errors import ConfigError
from mmela.plugins import Plugin, build_plugin, parse_plugins
from mmela.registry import ROOMS

#: How the names of mmela begin whose toolbox has the same name, and the toolbox's title.
_TOOLBOXES = {
    'mmdet': ('Det', 'MMDetection'),
    'mmseg': ('Seg', 'MMSegmentation'),
    'mmpretrain': ('Cls', 'MMPreTrain'),
}
#: The toolboxes' networks whose Bottleneck blocks take plugins and whose basic blocks do not.
_RESNETS = {
    ('mmdet', 'ResNet'): "type='mmela.DetResNet'",
    ('mmdet', 'ResNetV1d'): "type='mmela.DetResNet', deep_stem=True, avg_down=True",
    ('mmseg', 'ResNet'): "type='mmela.SegResNet'",
    ('mmseg', 'ResNetV1c'): "type='mmela.SegResNetV1c'",
    ('mmseg', 'ResNetV1d'): "type='mmela.SegResNet', deep_stem=True, avg_down=True",
}
_BASIC_DEPTHS = (18, 34)
_POSITIONS = ('after_conv1', 'after_conv2', 'after_conv3')
#: Channels that conv3 of a Bottleneck has for each one of conv1.
_EXPANSION = 4


def check_plugins(cfg: Config) -> None:
    """Checks every ``plugins`` list that stands in a network of a toolbox.

    Args:
        cfg: The config; its toolbox has to be importable.

    Raises:
        ConfigError: If the network takes no plugins, or not these. The message names the config
            key and the network of mmela to write, or what is wrong with the entry.
    """
    scope = cfg.get('default_scope')
    for node, key, here in _with_plugins(cfg.get('model'), 'model', scope):
        toolbox, _, kind = node['type'].rpartition('.')
        toolbox = toolbox or here
        if toolbox not in _TOOLBOXES:
            continue
        if (toolbox, kind) in _RESNETS:
            _check_resnet(node, key, toolbox, kind)
        else:
            _check_substitute(key, toolbox, kind)


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


def _check_resnet(node: dict, key: str, toolbox: str, kind: str) -> None:
    owner = f'{toolbox}.{kind} ({key})'
    if node.get('depth') in _BASIC_DEPTHS:
        # An empty list is no mistake of that kind: the toolbox's blocks are given nothing then.
        if node['plugins']:
            raise ConfigError(
                f'{key}.plugins: {kind} of {_TOOLBOXES[toolbox][1]} has basic blocks at depth '
                f'{node["depth"]}, and those take no plugins; write '
                f'{_RESNETS[toolbox, kind]}, which takes them at every depth.'
            )
        return
    plugins = parse_plugins(
        node['plugins'],
        owner=owner,
        positions=_POSITIONS,
        num_stages=node.get('num_stages', 4),
    )
    with MODELS.switch_scope_and_registry(toolbox):
        _check_layers(plugins, node.get('base_channels', 64))


def _check_layers(plugins: list[Plugin], base_channels: int) -> None:
    """Builds each layer once for every stage."""
    taken: set[tuple[int, str]] = set()
    for plugin in plugins:
        for stage in (index for index, is_used in enumerate(plugin.stages) if is_used):
            channels = base_channels * 2**stage
            if plugin.position == 'after_conv3':
                channels *= _EXPANSION
            name = _name_when_built(plugin, channels)
            if (stage, name) in taken:
                raise ConfigError(
                    f"{plugin.label}: a block of that network holds each name once, and '{name}' "
                    'is there already, perhaps at another position; give the second one a '
                    f"postfix, cfg=dict(type={plugin.cfg['type']!r}, ..., postfix='2')."
                )
            taken.add((stage, name))


def _name_when_built(plugin: Plugin, channels: int) -> str:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the network itself will say it
        try:
            with torch.device('meta'):
                return build_plugin(plugin, channels)[0]
        # The cause may be that a layer needs real values when it is built.
        except Exception:
            return build_plugin(plugin, channels)[0]


def _check_substitute(key: str, toolbox: str, kind: str) -> None:
    """Names the network of mmela that takes the plugins which the toolbox's refuses."""
    prefix, title = _TOOLBOXES[toolbox]
    room = f'mmela.{prefix.lower()}'
    ours = [n for n in (kind, prefix + kind) if n in ROOMS and ROOMS[n].module == room]
    if ours and not _takes_plugins(toolbox, kind):
        raise ConfigError(
            f"{key}.plugins: {kind} of {title} takes no plugins; write type='mmela.{ours[0]}', "
            'which is the same network and takes them.'
        )


def _takes_plugins(toolbox: str, kind: str) -> bool:
    with MODELS.switch_scope_and_registry(toolbox) as registry:
        found = registry.get(f'{toolbox}.{kind}')
    return inspect.isclass(found) and any(
        'plugins' in inspect.signature(vars(base)['__init__']).parameters
        for base in found.__mro__
        if '__init__' in vars(base)
    )
