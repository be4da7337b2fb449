"""Exported detectors decode as MMDetection does, or are refused."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn

from mmela.commands.export_outputs import DetectorOutputs, check_kind
from mmela.engine import UserError

HEIGHT, WIDTH = 64, 96
TEST = ConfigDict(nms_pre=10_000, score_thr=-1, min_bbox_size=-1, max_per_img=10_000)
ANCHORS = dict(
    type='AnchorGenerator',
    octave_base_scale=4,
    scales_per_octave=1,
    ratios=[1.0],
    strides=[8, 16],
)
POINTS = dict(type='MlvlPointGenerator', offset=0, strides=[8, 16])
GROUPS = dict(norm_cfg=dict(type='GN', num_groups=2))
BY_POINTS = dict(strides=[8, 16], regress_ranges=((-1, 64), (64, 1e8)), **GROUPS)
DECODED = {
    'RetinaHead': dict(anchor_generator=ANCHORS),
    'softmax': dict(
        type='RetinaHead',
        anchor_generator=ANCHORS,
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False),
    ),
    'FCOSHead': BY_POINTS,
    'ATSSHead': dict(anchor_generator={**ANCHORS, 'octave_base_scale': 8}, **GROUPS),
    'RTMDetHead': dict(
        anchor_generator=POINTS,
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        norm_cfg=dict(type='BN'),
    ),
}
REFUSED = {
    'TOODHead': dict(anchor_generator=ANCHORS, **GROUPS),
    'GFLHead': dict(anchor_generator=ANCHORS, **GROUPS),
    'PAAHead': dict(anchor_generator=ANCHORS, **GROUPS),
    'FoveaHead': dict(strides=[8, 16], base_edge_list=[16, 32], scale_ranges=((8, 32), (16, 64))),
}


class Detector(nn.Module):
    """A head on maps that are the image itself, at strides 8 and 16."""

    def __init__(self, kind, options):
        super().__init__()
        options = dict(type=kind, num_classes=3, in_channels=8, feat_channels=8) | options
        torch.manual_seed(0)
        self.bbox_head = MODELS.build(dict(stacked_convs=2, test_cfg=TEST, **options)).eval()
        for weight in self.bbox_head.parameters():
            nn.init.normal_(weight, std=0.3)

    def extract_feat(self, x):
        return [nn.functional.avg_pool2d(x, stride).repeat(1, 3, 1, 1)[:, :8] for stride in (8, 16)]


@pytest.mark.parametrize('kind', DECODED)
def test_boxes_and_scores_are_those_of_the_head(kind):
    model = Detector(kind, DECODED[kind])
    check_kind(model)
    x = torch.rand(1, 3, HEIGHT, WIDTH)
    meta = dict(img_shape=(HEIGHT, WIDTH), scale_factor=(1, 1))
    with torch.no_grad():
        (boxes,), (scores,) = DetectorOutputs(model)(x)
        (theirs,) = model.bbox_head.predict_by_feat(
            *model.bbox_head(model.extract_feat(x)),
            batch_img_metas=[meta],
            cfg=TEST,
            with_nms=False,
        )
    expected, order = (theirs.scores * theirs.get('score_factors', 1)).sort(descending=True)
    found, places = scores.flatten().sort(descending=True)
    torch.testing.assert_close(found, expected)
    limits = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    boxes = boxes[places // 3].clamp(min=torch.zeros(4), max=limits)
    distinct = expected.diff().abs() > 1e-6  # equal scores come in any order
    kept = torch.cat([distinct, torch.tensor([True])]) & torch.cat([torch.tensor([True]), distinct])
    assert kept.sum() > len(kept) / 2
    torch.testing.assert_close(boxes[kept], theirs.bboxes[order][kept], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize('kind', REFUSED)
def test_heads_that_decode_in_another_way_are_refused(kind):
    with pytest.raises(UserError, match=f'{kind}.*MMDeploy'):
        check_kind(Detector(kind, REFUSED[kind]))


def test_cascades_are_refused():
    two_stages, cascade = nn.Module(), nn.Module()
    two_stages.roi_head = nn.Identity()
    cascade.decode_head = nn.ModuleList()
    for model in (two_stages, cascade):
        with pytest.raises(UserError, match='MMDeploy'):
            check_kind(model)
