"""The hook that logs attention maps during a training."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmela.engine.hooks.unwrapping import unwrap
from mmela.registry import HOOKS


@HOOKS.register_module()
class AttentionMapHook(Hook):
    """Logs the attention maps of an image after each validation.

    They go to the visualizer's backends, such as TensorBoard or the folder ``vis_data``, under the
    name ``attention``. In a config:

    .. code-block:: python

        custom_hooks = [dict(type='mmela.AttentionMapHook')]

    Args:
        index: Which batch of the validation; its first image is taken.
        stretch: Whether each map stretches its colours to its own values.
    """

    def __init__(self, index: int = 0, stretch: bool = False) -> None:
        self.index = index
        self.stretch = stretch

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draws the maps of one batch.

        Args:
            runner: The runner.
            batch_idx: Number of the batch.
            data_batch: The batch, as the dataloader gave it.
            outputs: Not used.
        """
        if batch_idx != self.index:
            return
        from mmela.visualization.figures import map_figure
        from mmela.visualization.gates import record_gates
        from mmela.visualization.view import cropped, gate_panels, view_of

        model: Any = unwrap(runner.model)
        with torch.no_grad(), record_gates(model) as record:
            batch = model.data_preprocessor(data_batch, False)
            model(**batch, mode='tensor')
        if not record:
            return
        view = view_of(batch, model.data_preprocessor)
        rows = {
            name: gate_panels(cropped(maps[0], view), self.stretch) for name, maps in record.items()
        }
        figure = map_figure(view.image, rows)
        figure.canvas.draw()
        image = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
        runner.visualizer.add_image('attention', np.ascontiguousarray(image), runner.iter)
