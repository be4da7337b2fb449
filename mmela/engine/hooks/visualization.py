"""MMPreTrain's drawing of predictions, with a file for each picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mmengine.runner import Runner
from mmpretrain.engine.hooks import VisualizationHook
from mmpretrain.structures import DataSample

from mmela.registry import HOOKS


@HOOKS.register_module()
class ClsVisualizationHook(VisualizationHook):
    """Draws the predictions of a test under names that tell class folders apart.

    The original names a picture after its file alone, so that of ``cat/1.jpg`` and ``dog/1.jpg``
    the last stays. Here they are ``cat-1.jpg_0.png`` and ``dog-1.jpg_0.png``.

    Args:
        **kwargs: As in MMPreTrain.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._shared = 0  # folders that all paths begin with

    def before_test(self, runner: Runner) -> None:
        """Finds the folder that all images of the test lie below.

        Args:
            runner: The runner.
        """
        dataset = runner.test_dataloader.dataset
        get = getattr(dataset, 'get_data_info', None)  # KFoldDataset has none: whole paths
        paths = [get(i).get('img_path', '') for i in range(len(dataset))] if get else []
        # It compares lists element by element as well as texts.
        self._shared = len(os.path.commonprefix([path.split('/')[:-1] for path in paths]))

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]
    ) -> None:
        """Draws the predictions of a batch.

        Args:
            runner: The runner.
            batch_idx: Number of the batch.
            data_batch: The batch.
            outputs: The predictions.
        """
        paths = [sample.get('img_path') for sample in outputs]
        for sample, path in zip(outputs, paths, strict=True):
            if path is not None:
                below = path.split('/')[self._shared :]
                sample.set_metainfo({'img_path': '-'.join(below)})
        super().after_test_iter(runner, batch_idx, data_batch, outputs)
        for sample, path in zip(outputs, paths, strict=True):
            if path is not None:
                sample.set_metainfo({'img_path': path})
