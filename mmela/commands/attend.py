"""``mmela attend``: the small config that adds attention to a network of yours."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from pprint import pformat
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mmela.analysis.complexity import Complexity, measure
from mmela.engine.checks.environment import check_environment
from mmela.engine.toolboxes import scope_of
from mmela.errors import UserError, did_you_mean
from mmela.plugins.network_probe import ProbedRun, probe
from mmela.plugins.with_plugins import OUTPUTS

#: How many plain maps a network has beyond its first stage: attention on the finest map costs the
#: most and the authors leave it out in detection and segmentation.
_LATE_STAGES = (False, True, True, True)
_RESIDUAL = ('after_conv2', _LATE_STAGES, "the authors' place in residual networks")
#: Networks with a variant of their own or plugins of their own, by toolbox and type: what to write
#: as `type` (None: leave it), the position, the stages, and why.
_KNOWN: dict[tuple[str, str], tuple[str | None, str, Any, str]] = {
    **{
        (toolbox, name): (None, *_RESIDUAL)
        for toolbox in ('mmdet', 'mmseg')
        for name in ('ResNet', 'ResNetV1c', 'ResNetV1d', 'ResNeSt')
    },
    ('mmpretrain', 'ResNet'): ('mmela.ClsResNet', 'after_conv2', None, _RESIDUAL[2]),
    **{
        (toolbox, 'MobileNetV2'): (
            f'mmela.{prefix}MobileNetV2',
            'after_depthwise',
            None,
            "the authors' place in MobileNetV2",
        )
        for toolbox, prefix in (('mmdet', 'Det'), ('mmseg', 'Seg'), ('mmpretrain', 'Cls'))
    },
    **{
        ('mmdet', name): (
            f'mmela.{name}',
            'after_stage',
            _LATE_STAGES,
            'behind each stage that the neck reads',
        )
        for name in ('CSPDarknet', 'CSPNeXt')
    },
    ('mmdet', 'YOLOXPAFPN'): (
        'mmela.YOLOXPAFPN',
        'after_concat',
        None,
        "the authors' place behind the concatenations of YOLOX's neck",
    ),
    ('mmdet', 'DilatedEncoder'): (
        'mmela.DilatedEncoder',
        'around_block',
        None,
        "the authors' places in YOLOF",
    ),
}
#: Basic blocks take no plugins in the toolboxes.
_BASIC = {
    ('mmdet', 'ResNet'): 'mmela.DetResNet',
    ('mmseg', 'ResNet'): 'mmela.SegResNet',
    ('mmseg', 'ResNetV1c'): 'mmela.SegResNetV1c',
}
#: The variants that the authors take, by the type of a network.
_VARIANTS = {'CSPDarknet': 'T', 'YOLOXPAFPN': 'T', 'DilatedEncoder': 'T', 'MobileNetV2': 'L'}


@dataclass
class Proposal:
    """A config that adds attention to another.

    Attributes:
        text: The config file.
        reasons: What was chosen, and why, one line each.
        complexity: Layers, parameters and FLOPs with the attention and without.
    """

    text: str
    reasons: list[str] = field(default_factory=list)
    complexity: Complexity | None = None


def attend(
    cfg: Config,
    base: str,
    *,
    layer: str = 'ELA',
    variant: str | None = None,
    residual: bool | str | None = None,
    where: str = 'backbone',
    shape: tuple[int, int] | None = None,
) -> Proposal:
    """Proposes a config that inherits from another and adds attention to its network.

    Args:
        cfg: The config, of :func:`mmela.engine.load_config`.
        base: What the new config writes in ``_base_``: a path, or a name such as ``mmdet::...``.
        layer: An attention of mmela, or another registered plugin layer with its prefix.
        variant: Of ELA. Without it: what the authors take for such a network, else ``'B'``.
        residual: ``False``, ``True`` or ``'scaled'``. Without it ``True`` where the network starts
            from pretrained weights, else ``False``.
        where: A part of the model, ``'backbone'`` or ``'neck'``, and perhaps a position in it:
            ``'neck.fpn_convs.*'``, ``'backbone.outputs'``.
        shape: Height and width in pixels of the input that FLOPs are counted for. Default: what
            the config tests at.

    Returns:
        The proposal; its network was built and counted.

    Raises:
        UserError: If the model has no such part, or the layer cannot be put there.
    """
    part, _, position = where.partition('.')
    node = _part(cfg, part)
    scope = scope_of(cfg)
    toolbox, _, kind = str(node['type']).rpartition('.')
    toolbox = toolbox or scope
    why_there = ''
    if not position and (toolbox, kind) not in _KNOWN:
        position, why_there = _default_place(_probed(cfg, part))
    choice = _choose(node, toolbox, kind, position, why_there)
    delta, reasons = dict(choice.delta), list(choice.reasons)

    name = layer if '.' in layer else f'mmela.{layer}'
    layer_cfg: dict[str, Any] = dict(type=name)
    if name == 'mmela.ELA':
        chosen = _VARIANTS.get(kind, 'S' if scope == 'mmseg' else None)
        layer_cfg['variant'] = variant or chosen or 'B'
        if variant is None:
            why = 'the one that the authors take for such a network' if chosen else 'the default'
            reasons.append(f'variant {layer_cfg["variant"]}: {why}')
    elif variant is not None:
        raise UserError(f'--variant is for ELA; expected none with --type {layer}, got {variant}.')
    if name.startswith('mmela.'):
        pretrained = _is_pretrained(cfg, node)
        form = pretrained if residual is None else residual
        if form is not False:
            layer_cfg['residual'] = form
        if residual is None:
            reasons.append(
                'residual=True: the network starts from pretrained weights'
                if pretrained
                else 'residual=False: the network starts from scratch, as in the paper'
            )
    entry = dict(cfg=layer_cfg, position=choice.position)
    if choice.stages is not None:
        entry['stages'] = choice.stages
    delta['plugins'] = [entry]

    changed = deepcopy(cfg)
    changed.merge_from_dict({f'model.{part}.{key}': value for key, value in delta.items()})
    return Proposal(_text(base, part, delta), reasons, measure(changed, shape))


def list_places(cfg: Config, part: str = 'backbone') -> list[tuple[str, str]]:
    """The positions of a part of a model.

    Args:
        cfg: The config.
        part: ``'backbone'`` or ``'neck'``.

    Returns:
        Each position with the shapes of its maps for an input of 64 x 96 pixels, or of 256 x 384
        where the network rejects small images.

    Raises:
        UserError: If the model has no such part.
    """
    seen = _probed(cfg, part)
    shapes = dict(seen.by_module)
    shapes[OUTPUTS] = seen.outputs
    return [
        (name, ', '.join('x'.join(map(str, out.shape[1:])) for out in shapes[name]))
        for name in seen.places()
    ]


def _probed(cfg: Config, part: str) -> ProbedRun:
    """What the modules of a part of a model return."""
    node = _part(cfg, part)
    check_environment(scope_of(cfg))
    with MODELS.switch_scope_and_registry(scope_of(cfg)) as registry, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        plain = {k: v for k, v in deepcopy(dict(node)).items() if k not in ('plugins', 'init_cfg')}
        network: nn.Module = registry.build(plain)
    return probe(network, f'{part} ({node["type"]})')


def _default_place(seen: ProbedRun) -> tuple[str, str]:
    """The outputs where they are maps, else the last large part that returns one, and why."""
    places = seen.places()
    if OUTPUTS in places or not places:
        return OUTPUTS, ': every map that leaves the network'
    depth = places[0].count('.')
    last = [place for place in places if place.count('.') == depth][-1]
    return last, ': the last part that returns one map; the outputs are none, or others in training'


@dataclass
class _Choice:
    delta: dict[str, Any]
    position: str
    stages: Any
    reasons: list[str]


def _choose(
    node: Mapping[str, Any], toolbox: str, kind: str, position: str, why_there: str
) -> _Choice:
    known = _KNOWN.get((toolbox, kind))
    if known is not None and position in ('', known[1]):
        new_type, position, stages, why = known
        if stages is not None:  # C4 detectors leave the last stage to their head
            stages = stages[: node.get('num_stages', len(stages))]
        if node.get('depth') in (18, 34):
            new_type = _BASIC.get((toolbox, kind), new_type)
        reasons = [f'position {position}: {why}']
        if new_type:
            reasons.insert(0, f'type {new_type}: {kind} with places for plugins')
        return _Choice({'type': new_type} if new_type else {}, position, stages, reasons)
    network = node['type'] if '.' in str(node['type']) else kind
    reasons = [
        f'type mmela.WithPlugins: a subclass of {kind} that takes plugins at its own modules',
        f'position {position}{why_there}',
    ]
    delta = {'type': 'mmela.WithPlugins', 'network': network}
    return _Choice(delta, position, None, reasons)


def _part(cfg: Config, part: str) -> Mapping[str, Any]:
    node = cfg.model.get(part)
    if not isinstance(node, Mapping) or 'type' not in node:
        parts = [k for k, v in cfg.model.items() if isinstance(v, Mapping) and 'type' in v]
        raise UserError(
            f'--where: expected a part of the model ({", ".join(parts)}), got {part!r}'
            + did_you_mean(part, parts)
        )
    if node.get('plugins'):
        raise UserError(
            f'model.{part}.plugins of {cfg.filename or "the config"} holds plugins already; name '
            'the config without them.'
        )
    return node


def _is_pretrained(cfg: Config, node: Mapping[str, Any]) -> bool:
    entries = node.get('init_cfg')
    entries = entries if isinstance(entries, (list, tuple)) else [entries]
    named = any(entry and entry.get('type') == 'Pretrained' for entry in entries)
    return bool(named or cfg.model.get('pretrained') or cfg.get('load_from'))


def _text(base: str, part: str, delta: Mapping[str, Any]) -> str:
    """The file, laid out as the configs of mmela are."""
    entry = delta['plugins'][0]
    words = [f'position={entry["position"]!r}']
    if 'stages' in entry:
        words.append(f'stages={entry["stages"]!r}')
    layer = ', '.join(f'{key}={value!r}' for key, value in entry['cfg'].items())
    lines = [f'_base_ = {base!r}', '', 'model = dict(', f'    {part}=dict(']
    lines += [
        f'        {key}={pformat(value)},' for key, value in delta.items() if key != 'plugins'
    ]
    lines += [
        '        plugins=[',
        f'            dict(cfg=dict({layer}), {words[0]}'
        + (f',\n                 {words[1]})]))' if len(words) > 1 else ')]))'),
    ]
    return '\n'.join(lines) + '\n'


def base_of(config: str, out: str | None) -> str:
    """What a config at ``out`` writes in ``_base_`` to inherit from another.

    Args:
        config: The path of the other, or its name, such as ``mmdet::yolox/...``.
        out: Where the new config will be; None for the working directory.

    Returns:
        The name, or the path relative to the folder of the new config.
    """
    if '::' in config:
        return config
    folder = Path(out).resolve().parent if out else Path.cwd()
    return os.path.relpath(Path(config).resolve(), folder)
