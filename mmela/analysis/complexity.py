"""Parameters and FLOPs of a network, with its attention and without.

>>> from mmela import engine                                                # doctest: +SKIP
>>> from mmela.analysis.complexity import measure                             # doctest: +SKIP
>>> cfg = engine.load_config('configs/det/yolox/yolox_s-ela-t_8xb8-300e_coco.py')  # doctest: +SKIP
>>> measure(cfg).attention_params                                            # doctest: +SKIP
6272

The counter is MMEngine's, as in the toolboxes' own ``get_flops.py``.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from torch import nn

from mmela.analysis.flop_count import Count, count_network
from mmela.analysis.input_shape import input_shape
from mmela.engine.checks.environment import check_environment
from mmela.engine.checks.plugins import check_plugins
from mmela.engine.toolboxes import scope_of
from mmela.errors import explain_errors

_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


@dataclass(frozen=True)
class Complexity:
    """What the attention of a network costs.

    FLOPs are multiply-adds of one image. ``baseline_flops`` is what the toolboxes' ``get_flops.py``
    count for the network without attention. ``attention_flops`` are counted alike, plus the
    pooling of the attention, one an element, through whichever operator.
    """

    shape: tuple[int, int]  #: height and width of the input in pixels
    baseline_params: int
    baseline_flops: int
    attention: str = ''  #: its kinds, such as ``'ELA-T'``; empty without attention
    attention_layers: int = 0
    attention_places: int = 0  #: how often they run: more than the layers where they are shared
    attention_params: int = 0
    attention_flops: int = 0
    #: products, sums and activations of the attention, one an element; in no other figure
    attention_elementwise: int = 0
    #: operators of the attention that are in none of these figures, and how often they run
    uncounted: dict[str, int] = field(default_factory=dict)

    @property
    def params(self) -> int:
        """Parameters of the network with its attention."""
        return self.baseline_params + self.attention_params

    @property
    def flops(self) -> int:
        """Multiply-adds of the network with its attention."""
        return self.baseline_flops + self.attention_flops

    def to_dict(self) -> dict[str, Any]:
        """Every figure by name, totals included."""
        return {**asdict(self), 'params': self.params, 'flops': self.flops}


#: Counts of baselines and the names of their modules: many configs have the same one.
_baselines: dict[str, tuple[Count, frozenset[str]]] = {}


def measure(cfg: Config, shape: tuple[int, int] | None = None) -> Complexity:
    """Counts a network with its attention and without.

    The baseline is the same config without any ``plugins``, at the same input size. Parameters
    include those of heads that are used in training alone, such as the auxiliary ones of
    segmentation. A two-stage detector is counted with as many proposals as its test keeps at most.

    Args:
        cfg: A config of :func:`mmela.engine.load_config`; it stays as it is.
        shape: Height and width of the input. Default: what the config tests at, see
            :func:`mmela.analysis.input_shape.input_shape`.

    Returns:
        The counts. Without attention its share is zero.

    Raises:
        UserError: If the config has no input size, or the network cannot run at the one given.
        ConfigError: If a ``plugins`` list is invalid.
    """
    scope = scope_of(cfg)
    check_environment(scope)
    check_plugins(cfg, ['test'])
    shape = shape or input_shape(cfg)
    plain = deepcopy(cfg.model)
    has_plugins = drop_plugins(plain)
    key = f'{scope} {shape} {plain}'
    if key not in _baselines:
        with _network(plain, scope) as model:
            names = frozenset(name for name, _ in model.named_modules())
            _baselines[key] = count_network(model, shape, scope), names
    baseline, known = _baselines[key]
    if not has_plugins:
        return Complexity(shape, baseline.params, baseline.flops)
    with _network(deepcopy(cfg.model), scope) as model:
        layers = _new_layers(model, known)
        runs: Counter[nn.Module] = Counter()
        for layer in layers:
            layer.register_forward_hook(lambda module, *_: runs.update([module]))
        count = count_network(model, shape, scope)
    return Complexity(
        shape=shape,
        attention=', '.join(dict.fromkeys(_title(layer) for layer in layers)),
        attention_layers=len(layers),
        attention_places=sum(runs.values()),
        baseline_params=baseline.params,
        attention_params=count.params - baseline.params,
        baseline_flops=baseline.flops,
        attention_flops=count.flops + count.pooling - baseline.flops - baseline.pooling,
        attention_elementwise=count.elementwise - baseline.elementwise,
        uncounted=dict(count.unknown - baseline.unknown),
    )


def drop_plugins(node: Any) -> bool:
    """Removes every ``plugins`` from a model's config, in place; whether there was one."""
    children = list(node.values() if isinstance(node, dict) else node)
    found = isinstance(node, dict) and bool(node.pop('plugins', None))
    nested = [drop_plugins(child) for child in children if isinstance(child, (dict, list, tuple))]
    return found or any(nested)


@contextmanager
def _network(model_cfg: Any, scope: str) -> Iterator[nn.Module]:
    """A network in eval mode, with random weights; nothing is downloaded."""
    with MODELS.switch_scope_and_registry(scope) as registry, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # training and tests repeat them
        with explain_errors():
            model = registry.build(model_cfg)
        yield revert_sync_batchnorm(model).eval()


def _new_layers(model: nn.Module, known: frozenset[str]) -> list[nn.Module]:
    """The outermost modules that the baseline lacks, containers left out."""
    layers: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        is_inside = any(name.startswith(f'{layer}.') for layer in layers)
        if name not in known and not is_inside and not isinstance(module, _CONTAINERS):
            layers[name] = module
    return list(layers.values())


def _title(layer: nn.Module) -> str:
    """The name of a kind of layer, such as ``'ELA-B, x + ELA(x)'``."""
    kind = type(layer).__name__
    title = f'{kind}-{layer.variant}' if hasattr(layer, 'variant') else kind
    residual = getattr(layer, 'residual', False)
    if residual == 'scaled':
        return f'{title}, x + scale * {kind}(x)'
    return f'{title}, x + {kind}(x)' if residual else title
