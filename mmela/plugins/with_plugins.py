"""Plugins in any network: ``type='mmela.WithPlugins', network='FPN'``.

The network becomes a subclass of its class, made on demand, that takes a ``plugins`` list. A
position is ``'outputs'``, every map that leaves the network, or a pattern over the names of its own
submodules, such as ``'fpn_convs.*'``. A layer becomes a child of the module that it follows, so
that every key of the network keeps its name, and runs in a forward hook of that module.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from types import new_class
from typing import Any

from mmengine.registry import MODELS as MMENGINE_MODELS
from torch import Tensor, nn

from mmela.errors import ConfigError, did_you_mean
from mmela.plugins.grammar import Plugin, parse_plugins, plugins_at
from mmela.plugins.layers import add_plugins, run_plugins
from mmela.plugins.network import init_with_plugins
from mmela.plugins.network_probe import (
    REPLACEABLE,
    ProbedRun,
    count_training_outputs,
    described,
    is_map,
    listed,
    probe,
)
from mmela.registry import MODELS

OUTPUTS = 'outputs'
#: Positions of the networks that take plugins themselves.
_OWN_POSITIONS = ('after_conv1', 'after_conv2', 'after_conv3')


@MODELS.register_module(name='WithPlugins')
def with_plugins(
    network: str | type[nn.Module],
    plugins: Sequence[Mapping[str, Any]] | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Builds a network of any toolbox, or of your own, with plugins.

    .. code-block:: python

        neck=dict(type='mmela.WithPlugins', network='FPN', plugins=[
            dict(cfg=dict(type='mmela.ELA', residual='scaled'), position='fpn_convs.*')])

    Args:
        network: The registered name of the network, looked up in the scope in force or in the scope
            that is written, as in ``'mmpretrain.ConvNeXt'``; or its class.
        plugins: The list; see :mod:`mmela.plugins`. ``position`` is ``'outputs'`` or a pattern
            over module names in which ``*`` stands for any part of a name between two dots.
            ``stages`` counts the outputs, or the modules that the pattern matches. A network that
            takes plugins itself keeps the positions that it knows.
        **kwargs: Arguments of the network.

    Returns:
        An instance of a subclass of the network's class.

    Raises:
        ConfigError: If there is no such network, or an entry is invalid.
    """
    network_class = _find_class(network)
    added: Any = plugins
    own: list[Any] = []
    if isinstance(plugins, (list, tuple)):
        own = [entry for entry in plugins if _is_own(entry, network_class)]
        added = [entry for entry in plugins if entry not in own]
        if own:
            kwargs['plugins'] = own
    try:
        return subclass_with_plugins(network_class)(added_plugins=added, **kwargs)
    except AssertionError as error:
        if own and 'not implemented' in str(error).lower():  # basic blocks
            raise ConfigError(
                f'mmela.WithPlugins({network_class.__name__}): the blocks of this depth do not '
                f"take plugins at {own[0]['position']!r}; use type='mmela.DetResNet', "
                "'mmela.SegResNet' or 'mmela.ClsResNet' instead of WithPlugins, or the position "
                "'layer*'."
            ) from error
        raise


class NetworkWithPlugins(nn.Module):
    """Goes in front of a network's class; see :func:`with_plugins`."""

    network_class: type[nn.Module]

    def __init__(self, *args: Any, added_plugins: Sequence[Any] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.output_plugin_names: list[list[str]] = []
        self.plugin_modules: list[str] = []
        if added_plugins not in (None, [], ()):
            _add_to(self, added_plugins)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's own forward, with the plugins on its outputs."""
        out = super().forward(*args, **kwargs)
        if not self.output_plugin_names:
            return out
        if isinstance(out, Tensor):
            return run_plugins(self, self.output_plugin_names[0], out)
        pairs = zip(out, self.output_plugin_names, strict=True)
        return type(out)([run_plugins(self, names, x) for x, names in pairs])

    def init_weights(self) -> None:
        """As the network, and initialises the plugins that it does not reach."""
        layers = [self.get_submodule(name) for name in self.plugin_modules]
        network_init = getattr(super(), 'init_weights', lambda: None)
        init_with_plugins(network_init, layers, getattr(self, 'init_cfg', None))

    def train(self, mode: bool = True) -> NetworkWithPlugins:
        """As the network, some of which return None; like every module, this returns itself."""
        super().train(mode)
        return self

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _empty_instance, (self.network_class,), self.__dict__


@cache
def subclass_with_plugins(network_class: Any) -> Any:
    """The subclass of a network's class that takes plugins; one for each class."""
    name = f'{network_class.__name__}WithPlugins'
    namespace = dict(
        network_class=network_class, __module__=__name__, __doc__=network_class.__doc__
    )
    return new_class(
        name, (NetworkWithPlugins, network_class), exec_body=lambda ns: ns.update(namespace)
    )


def _empty_instance(network_class: Any) -> nn.Module:
    """An instance without its state, for copies and pickles: nobody can import its class."""
    made = subclass_with_plugins(network_class)
    instance: nn.Module = made.__new__(made)
    return instance


def run_attached_plugins(module: Any, inputs: Any, out: Tensor) -> Tensor:
    """The forward hook of a module that plugins follow.

    A plain function that finds the layers by name survives deep copies, EMA and pickling.
    """
    return run_plugins(module, module.attached_plugin_names, out)


def _find_class(network: Any) -> Any:
    if inspect.isclass(network):
        return network
    with MMENGINE_MODELS.switch_scope_and_registry(None) as registry:
        try:
            found = registry.get(network) if isinstance(network, str) else None
        except ConfigError:
            raise
        except Exception:  # MMEngine answers some unknown names with None and others by raising
            found = None
        names = set(registry.module_dict)
    if not inspect.isclass(found) or not issubclass(found, nn.Module):
        raise ConfigError(
            f'mmela.WithPlugins: expected network to be the registered name of a network, got '
            f"{network!r}; write the toolbox before the name, such as 'mmdet.FPN', if it is not "
            "that of the config's default_scope" + did_you_mean(network, names)
        )
    return found


def _is_own(entry: Any, network_class: type) -> bool:
    """Whether an entry has a position that the network knows itself."""
    position = entry.get('position') if isinstance(entry, Mapping) else None
    return position in _OWN_POSITIONS and any(
        'plugins' in inspect.signature(vars(base)['__init__']).parameters
        for base in network_class.__mro__
        if '__init__' in vars(base)
    )


def _add_to(network: Any, plugins: Sequence[Any]) -> None:
    owner = f'mmela.WithPlugins({type(network).network_class.__name__})'
    if not isinstance(plugins, (list, tuple)):
        parse_plugins(plugins, owner=owner, positions=[OUTPUTS], num_stages=1)  # raises
    places = _positions(plugins)
    matches = {p: _matching(network, p, owner) for p in places if p != OUTPUTS}
    seen = probe(network, owner)
    if OUTPUTS in places:
        _check_training_outputs(network, seen, owner)
    parsed = parse_plugins(
        plugins,
        owner=owner,
        positions=places,
        num_stages={OUTPUTS: len(seen.outputs), **{p: len(names) for p, names in matches.items()}},
        allow_several=True,
    )
    network.output_plugin_names = [[] for _ in seen.outputs] if OUTPUTS in places else []
    for index, out in enumerate(seen.outputs if OUTPUTS in places else ()):
        here = plugins_at(parsed, OUTPUTS, index)
        if here:
            width = _width(out, here[0].label, f'output {index}', seen)
            names = add_plugins(network, here, width, suffix=f'_out{index}')
            network.output_plugin_names[index] = names
            network.plugin_modules += names
    followed: dict[str, list[Plugin]] = {}
    for position, names in matches.items():
        for index, name in enumerate(names):
            if here := plugins_at(parsed, position, index):
                followed.setdefault(name, []).extend(here)
    for name, here in followed.items():
        _attach(network, name, here, seen)
    if followed:
        _hook(network, list(followed), owner)


def _positions(plugins: Sequence[Any]) -> list[str]:
    """The positions that a list names, each once; what is no list is left to the grammar."""
    found: dict[str, None] = {}
    for entry in plugins:
        given = entry.get('position') if isinstance(entry, Mapping) else None
        for position in given if isinstance(given, (list, tuple)) else [given]:
            if isinstance(position, str):
                found[position] = None
    return list(found) or [OUTPUTS]


def _check_training_outputs(network: nn.Module, seen: ProbedRun, owner: str) -> None:
    count, in_training = len(seen.outputs), count_training_outputs(network)
    if in_training not in (None, count):
        names = [name for name in seen.places() if name != OUTPUTS]
        raise ConfigError(
            f'{owner}: expected the same number of outputs in evaluation and training for position '
            f"'outputs', got {count} and {in_training}; name a module instead: {listed(names)}."
        )


def _matching(network: nn.Module, pattern: str, owner: str) -> list[str]:
    parts = pattern.split('.')
    modules = dict(network.named_modules())
    split = {name: name.split('.') for name in modules if name}
    names = [
        name
        for name, own in split.items()
        if len(own) == len(parts) and all(map(fnmatchcase, own, parts))
    ]
    if not names:
        raise ConfigError(
            f"{owner}: expected position to be 'outputs' or to match a submodule, got {pattern!r}; "
            f'the submodules at the top are {listed([n for n, _ in network.named_children()])}'
            + did_you_mean(pattern, [OUTPUTS, *modules])
        )
    for name in names:
        if isinstance(modules[name], REPLACEABLE):
            raise ConfigError(
                f'{owner}: {name} is a {type(modules[name]).__name__}, which fusing and SyncBN '
                'conversion replace together with what is attached to it; name the module that '
                f'holds it, {name.rpartition(".")[0] or OUTPUTS!r}.'
            )
    return names


def _width(out: Any, label: str, place: str, seen: ProbedRun) -> int:
    if not is_map(out):
        raise ConfigError(
            f'{label}: expected {place} to be a map of shape (N, C, H, W), got {described(out)}; '
            f'positions with a map are {listed(seen.places())}.'
        )
    return int(out.shape[1])


def _attach(network: Any, name: str, plugins: list[Plugin], seen: ProbedRun) -> None:
    label = plugins[0].label
    outs = seen.by_module.get(name)
    if not outs:
        raise ConfigError(
            f'{label}: {name} holds other modules and never runs itself; name those inside, '
            f"'{name}.*', or one of {listed(seen.places())}."
        )
    widths = {_width(out, label, name, seen) for out in outs}
    if len(widths) > 1:
        raise ConfigError(
            f'{label}: expected one width at {name}, got {sorted(widths)} in several runs.'
        )
    module: Any = network.get_submodule(name)
    names = add_plugins(module, plugins, widths.pop())
    module.attached_plugin_names = names
    network.plugin_modules += [f'{name}.{plugin}' for plugin in names]


def _hook(network: Any, followed: list[str], owner: str) -> None:
    """Runs the layers after their modules, except in those that run all children themselves."""
    runs = Counter({name: len(outs) for name, outs in probe(network, owner).by_module.items()})
    for name in followed:
        module: Any = network.get_submodule(name)
        if not any(runs[f'{name}.{plugin}'] for plugin in module.attached_plugin_names):
            module.register_forward_hook(run_attached_plugins)
