"""Plugins in the CSP backbones, which MMDetection builds all alike: a stem and stages behind it.

The mixin goes in front of the toolbox's own class and adds nothing else: without plugins the
network is its parent to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmela.errors import ConfigError
from mmela.plugins import (
    Plugin,
    add_plugins,
    at,
    init_with_plugins,
    parse_plugins,
    run_plugins,
    warn_if_frozen,
)

# Stands for the toolbox's class that follows the mixin: what a mixin uses, that class has.
Parent: Any = nn.Module


class PluginCSP(Parent):
    """Goes in front of a CSP backbone: positions ``after_stage`` and ``on_output``.

    .. code-block:: none

        x -> stem -> stage1 -> [after_stage] -> stage2 -> [after_stage] -+-> stage3 -> ...
                                                                         |
                                                                    [on_output]
                                                                         |
                                                                        neck

    A layer behind a stage is the last one of that stage, ``stage2.ela``: the next stage and the
    neck both see the result, and the layer is frozen with its stage. A layer on an output,
    ``ela_on_output_stage2``, is no part of the stage: the neck alone sees the result, and
    freezing the stage leaves the layer as it is. The stem is no stage and holds no layer, also
    where it is an output.
    """

    def __init__(self, *args: Any, plugins: Sequence[dict] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        owner = f'mmela.{type(self).__name__}'
        names = self.layers[1:]
        is_output = tuple(i in self.out_indices for i in range(1, len(self.layers)))
        parsed = parse_plugins(
            plugins,
            owner=owner,
            positions=('after_stage', 'on_output'),
            num_stages=len(names),
            default_stages={'on_output': is_output},
            allow_several=True,
        )
        for plugin in at(parsed, 'on_output'):
            _check_outputs(plugin, is_output, self.out_indices)
        # Names and not the layers themselves, so that a deep copy runs its own.
        self._stage_plugin_names: list[str] = []
        self._output_plugin_names: dict[str, list[str]] = {}
        for i, name in enumerate(names):
            stage = getattr(self, name)
            width = _out_channels(stage)
            added = add_plugins(stage, at(parsed, 'after_stage', i), width)
            self._stage_plugin_names += [f'{name}.{plugin}' for plugin in added]
            on_output = at(parsed, 'on_output', i)
            added = add_plugins(self, on_output, width, suffix=f'_on_output_{name}')
            self._output_plugin_names[name] = added
        frozen = range(max(self.frozen_stages, 0))
        places = {names[i]: at(parsed, 'after_stage', i) for i in frozen}
        warn_if_frozen(owner, self.frozen_stages, places)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """As the parent, with the plugins on the outputs.

        Args:
            x: Images of shape (N, 3, H, W).

        Returns:
            The maps of the output stages, finest first.
        """
        names = [name for i, name in enumerate(self.layers) if i in self.out_indices]
        return tuple(
            run_plugins(self, self._output_plugin_names.get(name, ()), out)
            for name, out in zip(names, super().forward(x), strict=True)
        )

    def init_weights(self) -> None:
        """As the parent, and initialises the plugins that can do it themselves."""
        # A stage is a plain nn.Sequential; the layers on the outputs are within MMEngine's reach.
        layers = [self.get_submodule(name) for name in self._stage_plugin_names]
        init_with_plugins(super().init_weights, layers, self.init_cfg)

    def train(self, mode: bool = True) -> PluginCSP:
        """As the parent, which returns None; like every module, this returns itself."""
        super().train(mode)
        return self


def _check_outputs(plugin: Plugin, is_output: Sequence[bool], out_indices: Sequence[int]) -> None:
    beyond = any(
        wanted and not is_out for wanted, is_out in zip(plugin.stages, is_output, strict=True)
    )
    if beyond or not any(is_output):
        raise ConfigError(
            f'{plugin.label}: on_output needs a stage that is an output, and with '
            f'out_indices={tuple(out_indices)} those are {tuple(is_output)}; leave stages out, '
            'which means these, or write False at the others.'
        )


def _out_channels(stage: Any) -> int:
    """Channels that leave a stage: its last layer is a CSP layer, closed by `final_conv`."""
    return stage[-1].final_conv.conv.out_channels
