"""The hook that draws the predictions of a classifier, one file an image."""

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
    """Draws the predictions of a test into files that are named after the class folders too.

    MMPreTrain's hook names a file after the image alone, so that of ``cat/1.jpg`` and
    ``dog/1.jpg`` only the last remains. Here they are ``cat-1.jpg_0.png`` and ``dog-1.jpg_0.png``.

    Args:
        **kwargs: As in MMPreTrain.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._num_common = 0  # how many folders all paths begin with

    def before_test(self, runner: Runner) -> None:
        """Finds the folder that contains all images of the test."""
        dataset = runner.test_dataloader.dataset
        get = getattr(dataset, 'get_data_info', None)  # KFoldDataset has none: whole paths
        paths = [get(i).get('img_path', '') for i in range(len(dataset))] if get else []
        # `commonprefix` compares lists element by element.
        self._num_common = len(os.path.commonprefix([path.split('/')[:-1] for path in paths]))

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]
    ) -> None:
        """Draws the predictions of a batch."""
        paths = [sample.get('img_path') for sample in outputs]
        for sample, path in zip(outputs, paths, strict=True):
            if path is not None:
                sample.set_metainfo({'img_path': '-'.join(path.split('/')[self._num_common :])})
        super().after_test_iter(runner, batch_idx, data_batch, outputs)
        for sample, path in zip(outputs, paths, strict=True):
            if path is not None:
                sample.set_metainfo({'img_path': path})
