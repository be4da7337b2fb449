"""Class activation maps of detectors, segmenters and classifiers, by the package ``grad-cam``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmela.errors import UserError

#: The methods of the package that are offered, by their lower-case names.
METHODS = ('gradcam', 'gradcamplusplus', 'hirescam', 'layercam', 'xgradcam', 'eigencam')


class ScoreModel(nn.Module):
    """A network of a toolbox that returns what a class activation map explains: scores.

    Args:
        model: The network.
        data_samples: Of the batch that it will be given, with what the preprocessor wrote there.
    """

    def __init__(self, model: Any, data_samples: Sequence[Any]) -> None:
        super().__init__()
        self.model = model
        self.data_samples = list(data_samples)

    def forward(self, x: Tensor) -> list[Any]:
        """The scores of each image.

        Args:
            x: Preprocessed images of shape (N, 3, H, W).

        Returns:
            For each image: boxes with ``scores``, ``labels`` and ``bboxes`` in pixels of ``x``
            (detection), logits of shape (C, H, W) (segmentation) or (C,) (classification).
        """
        if hasattr(self.model, 'decode_head'):
            metas = [sample.metainfo for sample in self.data_samples]
            return list(self.model.encode_decode(x, metas))
        if hasattr(self.model, 'bbox_head') or hasattr(self.model, 'roi_head'):
            if getattr(self.model, 'with_rpn', False) and hasattr(self.model, 'roi_head'):
                return self._roi_scores(x)
            return self._dense_scores(x)
        return list(self.model(x))

    def _roi_scores(self, x: Tensor) -> list[Any]:
        """The boxes that a two-stage detector finds."""
        maps = self.model.extract_feat(x)
        proposals = self.model.rpn_head.predict(maps, self.data_samples, rescale=False)
        found = self.model.roi_head.predict(maps, proposals, self.data_samples, rescale=False)
        zero = sum(level.sum() for level in maps) * 0  # has a gradient without boxes too
        for boxes in found:
            boxes.scores = boxes.scores + zero
        return list(found)

    def _dense_scores(self, x: Tensor) -> list[Any]:
        """The boxes that a one-stage detector finds, each with a score that has a gradient.

        The heads detach what they decode. So the score of a box is read from the raw outputs: the
        highest of its class at the positions inside the box.

        Raises:
            UserError: If the head has no map of scores.
        """
        head = getattr(self.model, 'bbox_head', None)
        if not (hasattr(head, 'prior_generator') and hasattr(head, 'cls_out_channels')):
            raise UserError(
                '--cam: expected a two-stage detector or a dense head with priors, got '
                f'{type(head).__name__}; without --cam the gates of any network are drawn.'
            )
        with torch.no_grad():
            predicted = self.model.predict(x, self.data_samples, rescale=False)
        found = [sample.pred_instances for sample in predicted]
        outputs = self.model(x, mode='tensor')
        levels = outputs[0]
        zero = sum(level.sum() for level in levels) * 0  # has a gradient without boxes too
        objectness = outputs[2] if len(outputs) > 2 and outputs[2][0].size(1) == 1 else None
        for index, boxes in enumerate(found):
            scores = [
                self._score(levels, objectness, index, int(label), box, x)
                for label, box in zip(boxes.labels, boxes.bboxes, strict=True)
            ]
            boxes.scores = torch.stack(scores) if scores else boxes.scores + zero
        return found

    def _score(
        self, levels: Any, objectness: Any, index: int, label: int, box: Tensor, x: Tensor
    ) -> Tensor:
        head = self.model.bbox_head
        classes = head.cls_out_channels
        best = []
        for number, level in enumerate(levels):
            height, width = level.shape[2:]
            # (A * C, H, W): the anchors of a position, each with all classes
            logits = level[index].view(-1, classes, height, width)
            is_softmax = not getattr(head, 'use_sigmoid_cls', True)
            of_class = (logits.softmax(1) if is_softmax else logits.sigmoid())[:, label]
            if objectness is not None:
                of_class = of_class * objectness[number][index].sigmoid()
            sides = box.new_tensor([width / x.size(3), height / x.size(2)] * 2)
            left, top, right, bottom = (int(max(side, 0)) for side in (box * sides).tolist())
            # A box that begins outside the input takes the positions at its border.
            left, top = min(left, width - 1), min(top, height - 1)
            inside = of_class[:, top : max(bottom, top) + 1, left : max(right, left) + 1]
            best.append(inside.amax())
        return torch.stack(best).amax()


class ClassTarget:
    """What a map explains in the output of one image: the score of a class, or the best one.

    Args:
        label: Index of the class; None means whatever the network predicts.
    """

    def __init__(self, label: int | None = None) -> None:
        self.label = label

    def __call__(self, output: Any) -> Tensor:
        """The score, with its gradient.

        Args:
            output: Of :class:`ScoreModel`, one image.

        Returns:
            Detection: the sum of the scores of the boxes. Segmentation: the mean logit over the
            pixels of the class. Classification: the logit.
        """
        if isinstance(output, InstanceData):
            scores = output.scores
            return (scores if self.label is None else scores[output.labels == self.label]).sum()
        if output.dim() == 1:
            score: Tensor = output[output.argmax() if self.label is None else self.label]
            return score
        prediction = output.argmax(0)
        if self.label is None:
            return output.amax(0).mean()
        pixels = output[self.label][prediction == self.label]
        return pixels.mean() if pixels.numel() else output[self.label].mean()


def class_activation_map(
    model: nn.Module,
    layers: Sequence[nn.Module],
    batch: dict[str, Any],
    method: str = 'gradcam',
    label: int | None = None,
) -> np.ndarray:
    """Where in an image the evidence for its prediction is.

    Args:
        model: A network of MMDetection (one- and two-stage), MMSegmentation or MMPreTrain.
        layers: The modules whose outputs are explained; their maps are averaged.
        batch: What the model's data preprocessor returns: ``inputs`` and ``data_samples``.
        method: One of :data:`METHODS`.
        label: Index of the class; None means whatever is predicted.

    Returns:
        Maps of shape (N, H, W) of the size of the inputs, values from 0 to 1.

    Raises:
        UserError: If the package is missing, the method unknown, or the detector of a kind whose
            scores have no map.
    """
    if method not in METHODS:
        raise UserError(f'--cam: expected one of {", ".join(METHODS)}, got {method!r}.')
    try:
        import pytorch_grad_cam
    except ImportError as error:
        raise UserError(
            f'class activation maps need the package grad-cam ({error}): `pip install grad-cam`.'
        ) from error
    classes = inspect.getmembers(pytorch_grad_cam, inspect.isclass)
    kinds: dict[str, Any] = {name.lower(): kind for name, kind in classes}
    scores = ScoreModel(model, batch['data_samples'])
    was_training = model.training
    targets = [ClassTarget(label)] * len(batch['inputs'])
    try:
        with torch.enable_grad(), kinds[method](scores, list(layers)) as cam:
            inputs = batch['inputs'].detach().requires_grad_()
            maps: np.ndarray = cam(inputs, targets)
    finally:
        model.train(was_training)
        model.zero_grad(set_to_none=True)
    return maps


def share_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """How much of each map lies inside the objects.

    This is the energy-based pointing game of Wang et al., "Score-CAM", CVPR workshops 2020.

    Args:
        maps: Shape (N, H, W), not negative.
        masks: Shape (N, H, W), True inside the objects.

    Returns:
        For each map the share of its sum inside, from 0 to 1; NaN where a map is zero.
    """
    total = maps.sum((1, 2))
    inside = (maps * masks).sum((1, 2))
    return np.divide(inside, total, out=np.full(len(maps), np.nan), where=total > 0)
