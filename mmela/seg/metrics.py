"""Intersection over union by class."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from mmseg.evaluation import IoUMetric

from mmela.registry import METRICS


@METRICS.register_module()
class ClasswiseIoUMetric(IoUMetric):
    """MMSegmentation's ``IoUMetric`` that returns the values of the classes too.

    ``IoUMetric`` prints them in a table, but neither ``metrics.json`` nor a comparison has them.
    The arguments are the same. ``IoU/dress=41.2`` is the intersection over union of one class in
    percent.
    """

    def total_area_to_metrics(self, *args: Any, **kwargs: Any) -> OrderedDict:
        """Keeps what the parent computes from the areas."""
        self._values = super().total_area_to_metrics(*args, **kwargs)
        return OrderedDict(self._values)  # the parent takes values out of it

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Computes the metrics, in percent.

        Args:
            results: The areas of each image.

        Returns:
            The parent's metrics and those of each class.
        """
        metrics: dict[str, float] = super().compute_metrics(results)
        if metrics:
            for name, values in self._values.items():
                if name != 'aAcc':
                    for of, value in zip(self.dataset_meta['classes'], values, strict=True):
                        metrics[f'{name}/{of}'] = round(float(value) * 100, 2)
        return metrics
