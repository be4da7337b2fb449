"""Class activation maps of every kind of network, by every method, and what they refuse."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmela.commands.look import Looker, look, pointing_score
from mmela.engine import UserError
from mmela.visualization.cam import METHODS, ScoreModel
from mmela_cli.look import main

pytestmark = [pytest.mark.long, pytest.mark.core]

pytest.importorskip('pytorch_grad_cam', reason='grad-cam is not installed')


@pytest.fixture
def detector(tiny_det, trained):
    """A detector that finds boxes with random weights, one class apart."""

    def make(score_thr=0.0):
        cfg, checkpoint = trained(tiny_det, {'model.test_cfg.score_thr': score_thr})
        cfg.test_dataloader.dataset.metainfo = None
        return Looker(cfg, checkpoint, 'cpu')

    return make


@pytest.mark.parametrize('method', METHODS)
def test_every_method_draws_a_map(method, tiny_seg, trained, images):
    looker = Looker(*trained(tiny_seg), 'cpu')
    (view,) = looker.views(images[:1])
    values = looker.cam(view, method, layers=['backbone.layer[34]'])
    assert values.shape == view.image.shape[:2] and 0 <= values.min() <= values.max() <= 1


@pytest.mark.parametrize('label', [None, 2])
def test_an_image_without_detections_has_an_empty_map(label, detector, images):
    looker = detector(score_thr=0.999)
    (view,) = looker.views(images[:1])
    assert looker.cam(view, 'gradcam', label=label).max() == 0


def test_a_two_stage_detector_without_detections_too(configs, trained, images, shapes_root):
    options = {
        'model.test_cfg.rcnn.score_thr': 0.999,
        'test_pipeline': [
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(64, 64)),
            dict(type='PackDetInputs'),
        ],
    }
    cfg, checkpoint = trained(str(configs / 'tiny_frcnn.py'), options)
    looker = Looker(cfg, checkpoint, 'cpu')
    (view,) = looker.views(images[:1])
    assert looker.cam(view, 'layercam').max() == 0
    looker.model.roi_head.test_cfg.score_thr = 0.0
    assert looker.cam(view, 'layercam').max() > 0


def test_a_box_outside_the_input_has_a_score(detector, images):
    looker = detector()
    (view,) = looker.views(images[:1])
    scores = ScoreModel(looker.model, view.batch['data_samples'])
    x = view.batch['inputs']
    levels = looker.model(x, mode='tensor')[0]
    for box in ([200.0, 200.0, 220.0, 230.0], [-50.0, -50.0, -20.0, -10.0]):
        assert 0 < scores._score(levels, None, 0, 1, torch.tensor(box), x) < 1


def test_classes_that_a_network_does_not_have_are_refused(detector, tiny_seg, trained, images):
    lookers = detector(), Looker(*trained(tiny_seg), 'cpu')
    for looker, last in zip(lookers, (5, 6), strict=True):
        (view,) = looker.views(images[:1])
        for label in (99, -1):
            with pytest.raises(UserError, match=f'--label.*0 to {last}'):
                looker.cam(view, 'gradcam', label=label)


def test_a_softmax_head_has_maps_and_a_head_without_priors_is_refused(trained, images):
    retina = dict(
        type='RetinaHead',
        in_channels=16,
        feat_channels=8,
        stacked_convs=1,
        num_classes=3,
        anchor_generator=dict(type='AnchorGenerator', scales=[2], ratios=[1.0], strides=[16]),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False),
    )
    resnet = dict(type='ResNet', depth=18, base_channels=4, stem_channels=4, out_indices=(2,))
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=dict(
                type='SingleStageDetector',
                data_preprocessor=dict(type='DetDataPreprocessor'),
                backbone=resnet,
                bbox_head=retina,
                test_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=5, score_thr=0),
            ),
            test_pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=(64, 64)),
                dict(type='PackDetInputs'),
            ],
        )
    )
    looker = Looker(*trained(cfg), 'cpu')
    (view,) = looker.views(images[:1])
    values = looker.cam(view, 'layercam', layers=['backbone.layer3'])
    assert values.shape == (64, 64) and values.max() > 0
    del looker.model.bbox_head.prior_generator
    with pytest.raises(UserError, match=r'--cam.*RetinaHead'):
        looker.cam(view, 'layercam', layers=['backbone.layer3'])


def test_gates_are_those_of_the_whole_image_under_slide_inference(tiny_seg, trained, images):
    slide = {'model.test_cfg': dict(mode='slide', crop_size=(32, 32), stride=(32, 32))}
    found = []
    for options in ({}, slide):
        looker = Looker(*trained(tiny_seg, options), 'cpu')
        (view,) = looker.views(images[:1])
        found.append(looker.gates(view))
    for name, maps in found[0].items():
        np.testing.assert_array_equal(maps.product, found[1][name].product)


def test_layers_and_label_reach_the_score_of_a_test_set(tiny_det, trained, images):
    looker = Looker(*trained(tiny_det), 'cpu')
    asked = {'layers': ['neck.nowhere*'], 'label': None}
    with pytest.raises(UserError, match=r'neck\.nowhere'):
        pointing_score(looker, 'eigencam', 1, **asked)
    areas = [pointing_score(looker, 'eigencam', label=c)['area'] or 0 for c in (None, 0, 1)]
    assert areas[0] > 0 and areas[1] != areas[2]
    with pytest.raises(UserError, match='--label'):
        pointing_score(looker, 'eigencam', 1, label=6)


def test_patterns_hold_for_both_networks(tiny_det, trained, images, tmp_path):
    cfg, checkpoint = trained(tiny_det)
    one, other = (Looker(cfg, checkpoint, 'cpu') for _ in range(2))
    options = dict(cam='eigencam', compare=other, save_npz=True)
    (whole,) = look(one, images[:1], f'{tmp_path}/a', layers=['backbone.stage[34]'], **options)
    arrays = [*np.load(whole.replace('.png', '.npz')).values()]
    np.testing.assert_array_equal(arrays[0], arrays[1])
    with pytest.raises(UserError, match='stage9'):
        list(look(one, images[:1], str(tmp_path), layers=['backbone.stage9'], **options))


def test_one_checkpoint_may_be_compared_under_two_configs(
    tiny_det, trained, images, shapes_root, tmp_path, capsys
):
    _, checkpoint = trained(tiny_det)
    command = [tiny_det, checkpoint, '--cfg-options', f'data_root={shapes_root}', '--device', 'cpu']
    dataset = ['--cam', 'eigencam', '--dataset', '--limit', '1']
    assert main([*command, *dataset, '--compare', tiny_det, checkpoint]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[:1] == '{']
    assert [line['config'] for line in lines] == [tiny_det, tiny_det]


@pytest.mark.parametrize('option', ['--compare a.py b.pth', '--label 1', '--dataset'])
def test_options_of_cam_need_it(option, capsys):
    with pytest.raises(SystemExit):
        main(['config.py', 'x.pth', 'image.jpg', *option.split()])
    assert '--cam' in capsys.readouterr().err
