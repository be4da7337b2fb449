"""What an exported network returns: boxes and scores, logits, or the scores of classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmela.errors import UserError


class DetectorOutputs(nn.Module):
    """The boxes and scores of a one-stage detector before suppression.

    Args:
        model: A detector with a dense head.
    """

    names = ('boxes', 'scores')

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Runs the network.

        Args:
            images: Preprocessed images of shape (N, 3, H, W).

        Returns:
            Boxes of shape (N, K, 4), (x1, y1, x2, y2) in pixels of the input, and scores of shape
            (N, K, classes), for all K positions.
        """
        from mmdet.models.dense_heads import YOLOXHead

        head = self.model.bbox_head
        outputs = head(self.model.extract_feat(images))
        classes, boxes = outputs[0], outputs[1]
        factors = outputs[2] if len(outputs) > 2 else None
        sizes = [level.shape[2:] for level in classes]
        is_yolox = isinstance(head, YOLOXHead)
        options = dict(with_stride=True) if is_yolox else {}
        priors = torch.cat(
            head.prior_generator.grid_priors(
                sizes, dtype=images.dtype, device=images.device, **options
            )
        )
        logits = _flat(classes, head.cls_out_channels)
        is_sigmoid = is_yolox or head.use_sigmoid_cls
        scores = logits.sigmoid() if is_sigmoid else logits.softmax(-1)[..., :-1]
        if factors is not None:
            scores = scores * _flat(factors, 1).sigmoid()
        deltas = _flat(boxes, 4)
        if is_yolox:
            return head._bbox_decode(priors, deltas), scores
        n = deltas.size(0)
        decoded = head.bbox_coder.decode(priors.repeat(n, 1), deltas.reshape(-1, 4))
        return decoded.reshape(n, -1, 4), scores


class SegmenterOutputs(nn.Module):
    """The logits of a segmenter.

    Args:
        model: A segmenter.
    """

    names = ('logits',)

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (N, classes, H, W) for images of shape (N, 3, H, W)."""
        logits = self.model.decode_head(self.model.extract_feat(images))
        return nn.functional.interpolate(
            logits, images.shape[2:], mode='bilinear', align_corners=self.model.align_corners
        )


class ClassifierOutputs(nn.Module):
    """The scores of a classifier.

    Args:
        model: A classifier.
    """

    names = ('scores',)

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Scores of shape (N, classes), which sum up to 1, for images of shape (N, 3, H, W)."""
        scores: Tensor = self.model(images).softmax(1)
        return scores


def check_kind(model: Any) -> None:
    """Checks that a network is of a kind whose outputs are decoded here as it decodes them.

    Args:
        model: The network.

    Raises:
        UserError: If it is not.
    """
    if hasattr(model, 'roi_head'):
        raise UserError(
            f'{type(model).__name__} is a two-stage detector, which mmela export does not take; '
            'use MMDeploy with its config for ONNX Runtime and `dynamo=False`, see docs/export.md.'
        )
    if isinstance(getattr(model, 'decode_head', None), nn.ModuleList):
        raise UserError(
            f'expected a segmenter with one decode head, got {type(model).__name__} with a '
            'cascade of them; use MMDeploy, see docs/export.md.'
        )
    head = getattr(model, 'bbox_head', None)
    if head is not None and not _is_decoded(head):
        raise UserError(
            'expected a detector with a dense head whose boxes are decoded from priors, as '
            f'RetinaNet, FCOS, ATSS, RTMDet or YOLOX, got {type(head).__name__}; use MMDeploy, see '
            'docs/export.md.'
        )


def _is_decoded(head: Any) -> bool:
    """Whether :class:`DetectorOutputs` decodes what a head returns as the head does."""
    from mmdet.models.dense_heads import YOLOXHead
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead

    if not (hasattr(head, 'prior_generator') and hasattr(head, 'cls_out_channels')):
        return False
    # A head that decodes in another way overrides one of these.
    is_plain = all(
        getattr(type(head), name, None) is getattr(BaseDenseHead, name)
        for name in ('predict_by_feat', '_predict_by_feat_single')
    )
    return isinstance(head, YOLOXHead) or (is_plain and hasattr(head, 'bbox_coder'))


def _flat(levels: Any, channels: int) -> Tensor:
    """Maps (N, A * channels, H, W) of all levels as (N, positions, channels)."""
    n = levels[0].size(0)
    return torch.cat([m.permute(0, 2, 3, 1).reshape(n, -1, channels) for m in levels], 1)
