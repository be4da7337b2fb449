"""MMDetection's CSPDarknet, the backbone of YOLOX, with plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.models.backbones.csp_darknet import CSPDarknet as _CSPDarknet

from mmela.plugins import add_plugins, at, parse_plugins, warn_if_frozen
from mmela.registry import MODELS


@MODELS.register_module()
class CSPDarknet(_CSPDarknet):
    """MMDetection's CSPDarknet with plugins behind its stages.

    .. code-block:: none

        x -> stem -> stage1 -> [plugins] -> stage2 -> [plugins] -> ... -> stage4 -> [plugins]
                                                |                             |
                                               neck                          neck

    Without plugins it is its parent: modules, state-dict keys and outputs. A plugin behind a
    stage is the last layer of that stage, so every key of the parent keeps its name, and the
    layer is frozen with its stage.

    Args:
        plugins: Entries ``dict(cfg=..., position='after_stage', stages=...)`` as
            :mod:`mmela.plugins` says. ``stages`` counts from stage1, without the stem: four in
            the arrangement P5, five in P6. The next stage and the neck both see the result.
        **kwargs: Everything that ``mmdet.CSPDarknet`` takes.

    Raises:
        ConfigError: If ``plugins`` is not in order.

    Examples:
        >>> import torch
        >>> plugins = [dict(cfg=dict(type='mmela.ELA', variant='T'), position='after_stage',
        ...                 stages=(False, True, True, True))]
        >>> backbone = CSPDarknet(deepen_factor=0.33, widen_factor=0.25, plugins=plugins)
        >>> [tuple(out.shape) for out in backbone.eval()(torch.rand(1, 3, 64, 64))]
        [(1, 64, 8, 8), (1, 128, 4, 4), (1, 256, 2, 2)]
    """

    def __init__(self, *args: Any, plugins: Sequence[dict] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = self.layers[1:]  # the stem is no stage
        owner = f'mmela.{type(self).__name__}'
        parsed = parse_plugins(
            plugins, owner=owner, positions=('after_stage',), num_stages=len(names)
        )
        by_stage = {name: at(parsed, 'after_stage', i) for i, name in enumerate(names)}
        self._plugin_names: list[str] = []
        for name, stage_plugins in by_stage.items():
            stage = getattr(self, name)
            added = add_plugins(stage, stage_plugins, _out_channels(stage))
            self._plugin_names += [f'{name}.{plugin}' for plugin in added]
        frozen = names[: max(self.frozen_stages, 0)]
        warn_if_frozen(owner, self.frozen_stages, {name: by_stage[name] for name in frozen})

    def init_weights(self) -> None:
        """As the parent, and initialises the plugins that can do it themselves."""
        # A stage is a plain nn.Sequential, at which MMEngine's own recursion ends. Its order is
        # kept: the backbone's rules, then the layers' own, and a checkpoint has the last word.
        if _is_pretrained(self.init_cfg):
            self._init_plugins()
            super().init_weights()
        else:
            super().init_weights()
            self._init_plugins()

    def _init_plugins(self) -> None:
        for name in self._plugin_names:
            layer = self.get_submodule(name)
            if hasattr(layer, 'init_weights') and not getattr(layer, 'is_init', False):
                layer.init_weights()

    def train(self, mode: bool = True) -> CSPDarknet:
        """As the parent, which returns None; like every module, this returns itself."""
        super().train(mode)
        return self


def _is_pretrained(init_cfg: Any) -> bool:
    entries = init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]
    return any(entry and entry.get('type') == 'Pretrained' for entry in entries)


def _out_channels(stage: Any) -> int:
    """Channels that leave a stage: its last layer is a CSP layer, closed by `final_conv`."""
    return stage[-1].final_conv.conv.out_channels
