"""Says before training which attention layers a frozen part of the network keeps untrained."""

from __future__ import annotations

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from mmela.engine.hooks.load_report import attention_layers
from mmela.engine.hooks.load_report_hook import unwrap

#: Layers that the warning writes out.
_NAMES_SHOWN = 5


class FrozenAttentionHook(Hook):
    """Warns once, before training, of attention layers that will not be trained."""

    def before_train(self, runner: Runner) -> None:
        """Looks at the network and warns.

        Args:
            runner: The runner.
        """
        frozen = frozen_attentions(unwrap(runner.model))
        if frozen:
            more = ', ...' if len(frozen) > _NAMES_SHOWN else ''
            print_log(
                f'{len(frozen)} attention layers lie in a frozen part of the network: unless a '
                'checkpoint holds them, they stay as they were initialised. Leave these stages '
                'out with `stages`, or lower frozen_stages: '
                f'{", ".join(frozen[:_NAMES_SHOWN])}{more}',
                logger=runner.logger,
                level=logging.WARNING,
            )


def frozen_attentions(model: nn.Module) -> list[str]:
    """Finds attention layers none of whose parameters is trainable.

    Args:
        model: The network.

    Returns:
        Their names, without those inside a network of mmela, which warns when it is built.
    """
    modules = dict(model.named_modules())
    attentions = attention_layers(model)
    ours = [
        name
        for name, module in modules.items()
        if type(module).__module__.startswith('mmela.') and name not in attentions
    ]
    frozen = []
    for name in attentions:
        above = [name[:i] for i, letter in enumerate(name) if letter == '.']
        parameters = list(modules[name].parameters())
        if not parameters or any(parameter.requires_grad for parameter in parameters):
            continue
        if not any(owner in ours or owner in attentions for owner in ['', *above]):
            frozen.append(name)
    return frozen
