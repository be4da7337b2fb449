"""``run_onnx.py`` gives what ``predict`` gives, also where images are resized and padded."""

import json
import re
import runpy

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmela.commands.export import export
from mmela.commands.export_settings import settings_of
from mmela.commands.looker import Looker
from mmela.commands.predict import predict
from mmela.engine import UserError

pytestmark = [pytest.mark.long, pytest.mark.core]

pytest.importorskip('onnxruntime', reason='onnx and onnxruntime are not installed')
pytest.importorskip('onnx')


@pytest.fixture(scope='module')
def run_onnx(repo_root):
    return runpy.run_path(str(repo_root / 'tools/deployment/run_onnx.py'))


@pytest.fixture
def run(tool):
    """Runs the tool and returns what it prints."""

    def run(*arguments):
        status, stderr = tool('deployment/run_onnx.py', *arguments)
        assert status == 0, stderr
        printed = tool.stdout  # behind what was printed before
        return json.loads(printed[re.search(r'^\[$', printed, re.M).start() :])

    return run


def settings(pipeline, height, width, dynamic=False, divisor=32):
    return {
        'input': {'height': height, 'width': width, 'dynamic': dynamic, 'divisor': divisor},
        'pipeline': pipeline,
        'channels': 'BGR',
        'mean': [0.0] * 3,
        'std': [1.0] * 3,
        'pad_value': 0.0,
    }


COCO = [{'type': 'Resize', 'scale': [1333, 800], 'keep_ratio': True}]


@pytest.mark.parametrize('size', [(1080, 1920), (1067, 800), (600, 400), (480, 640)])
def test_photos_of_every_shape_fit_the_usual_config(size, run_onnx):
    given = run_onnx['preprocess'](np.zeros((*size, 3), np.uint8), settings(COCO, 800, 1280))
    assert given.x.shape == (1, 3, 800, 1280)
    height, width = given.size
    assert height <= 800 and width <= 1280 and (height == 800 or width == 1280)
    np.testing.assert_allclose(given.factors, (width / size[1], height / size[0]))
    dynamic = settings(COCO, 800, 1280, dynamic=True)
    given = run_onnx['preprocess'](np.zeros((*size, 3), np.uint8), dynamic)
    scale = min(1333 / max(size), 800 / min(size))
    np.testing.assert_allclose(given.size, np.array(size) * scale, atol=0.51)
    assert [side % 32 for side in given.x.shape[2:]] == [0, 0]
    assert all(
        0 <= padded - side < 32 for padded, side in zip(given.x.shape[2:], given.size, strict=True)
    )


@pytest.mark.parametrize(
    'steps',
    [
        [dict(type='Resize', scale=64)],
        [dict(type='Resize', scale=(80, 64), interpolation='bicubic')],
        [dict(type='Resize', scale_factor=(0.5, 1.5))],
        [dict(type='Resize', scale=(80, 64), keep_ratio=True)],
        [dict(type='CenterCrop', crop_size=(40, 24))],
        [dict(type='CenterCrop', crop_size=500)],
        [dict(type='Resize', scale=(80, 64), keep_ratio=True), dict(type='Pad', size=(96, 80))],
        [dict(type='Pad', size_divisor=32, pad_val=114)],
        [dict(type='Pad', pad_to_square=True, pad_val=dict(img=(1, 2, 3)))],
        [dict(type='mmpretrain.ResizeEdge', scale=40), dict(type='CenterCrop', crop_size=32)],
        [dict(type='mmpretrain.ResizeEdge', scale=40, edge='long')],
    ],
)
@pytest.mark.parametrize('size', [(101, 57), (50, 93)])
def test_steps_do_what_those_of_mmcv_do(steps, size, run_onnx):
    import mmpretrain.datasets  # noqa: F401
    from mmcv.transforms import Compose

    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    expected = Compose(steps)({'img': image, 'img_shape': size})['img']
    described = json.loads(json.dumps(settings(steps, 0, 0, dynamic=True, divisor=1)))
    x = run_onnx['preprocess'](image, described).x
    np.testing.assert_array_equal(x[0].transpose(1, 2, 0), expected)


@pytest.mark.parametrize('keep_ratio', [False, True])
def test_boxes_of_several_classes_are_those_of_a_prediction(
    keep_ratio, trained, images, run, tmp_path
):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(96, 64), keep_ratio=keep_ratio),
        dict(type='PackDetInputs'),
    ]
    test = dict(score_thr=0.05, nms_pre=1000, nms=dict(type='nms', iou_threshold=0.5))
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=dict(
                type='RetinaNet',
                data_preprocessor=dict(
                    type='DetDataPreprocessor',
                    mean=[127.0] * 3,
                    std=[50.0] * 3,
                    pad_size_divisor=32,
                ),
                backbone=dict(
                    type='ResNet',
                    depth=18,
                    base_channels=4,
                    stem_channels=4,
                    out_indices=(2,),
                ),
                neck=dict(type='FPN', in_channels=[16], out_channels=8, num_outs=1),
                bbox_head=dict(
                    type='RetinaHead',
                    in_channels=8,
                    feat_channels=8,
                    stacked_convs=1,
                    num_classes=3,
                    anchor_generator=dict(
                        type='AnchorGenerator', scales=[2], ratios=[1.0], strides=[16]
                    ),
                ),
                test_cfg=dict(**test, max_per_img=7),
            ),
            visualizer=dict(type='mmdet.DetLocalVisualizer'),
            test_dataloader=dict(dataset=dict(type='CocoDataset', pipeline=pipeline)),
        )
    )
    cfg, checkpoint = trained(cfg, spread={'bbox_head.retina_cls': 1})
    image = cv2.imread(images[0])
    cv2.imwrite(f'{tmp_path}/photo.png', cv2.resize(image, (150, 190)))
    export(cfg, checkpoint, f'{tmp_path}/model.onnx', shape=(96, 64) if keep_ratio else (64, 96))
    (ours,) = run(f'{tmp_path}/model.onnx', f'{tmp_path}/photo.png', '--score-thr', '0.1')
    (theirs,) = predict(cfg, checkpoint, f'{tmp_path}/photo.png', score_thr=0.1, device='cpu')
    assert len(ours['boxes']) == 7
    for mine, other in zip(ours['boxes'], theirs['boxes'], strict=True):
        np.testing.assert_allclose(mine['box'], other['box'], atol=0.1)
        assert mine['class'] == other['class']


@pytest.mark.parametrize('head', [{}, {'num_classes': 2, 'out_channels': 1, 'threshold': 0.4}])
def test_label_maps_have_the_size_of_the_image(head, tiny_seg, trained, images, run, tmp_path):
    """A photo of another shape than the input: resized, padded, and back."""
    options = {f'model.decode_head.{key}': value for key, value in head.items()}
    if head:
        options['model.decode_head.loss_decode.use_sigmoid'] = True
        options['test_dataloader.dataset.metainfo'] = None
    cfg, checkpoint = trained(tiny_seg, options, spread={'decode_head.conv_seg': 10})
    resize = dict(type='Resize', scale=(96, 64), keep_ratio=True)
    cfg.test_dataloader.dataset.pipeline.insert(1, resize)
    image = cv2.resize(cv2.imread(images[0]), (120, 80))
    cv2.imwrite(f'{tmp_path}/photo.png', image)
    # The pipeline makes 96 x 64 of it: no padding in the network, 32 columns of it here.
    export(cfg, checkpoint, f'{tmp_path}/model.onnx', dynamic=True)
    out = f'{tmp_path}/masks'
    (ours,) = run(f'{tmp_path}/model.onnx', f'{tmp_path}/photo.png', '--out', out)
    (theirs,) = predict(cfg, checkpoint, f'{tmp_path}/photo.png', device='cpu', out=out + '2')
    mine, other = (cv2.imread(r['mask'], cv2.IMREAD_UNCHANGED) for r in (ours, theirs))
    assert mine.shape == other.shape == (80, 120)
    assert len(np.unique(other)) > 1 and (mine == other).mean() > 0.9
    export(cfg, checkpoint, f'{tmp_path}/static.onnx', shape=(64, 128))
    (ours,) = run(f'{tmp_path}/static.onnx', f'{tmp_path}/photo.png', '--out', out)
    assert cv2.imread(ours['mask'], cv2.IMREAD_UNCHANGED).shape == (80, 120)


def test_what_the_settings_cannot_describe_is_refused(tiny_det, trained, tmp_path):
    cfg, checkpoint = trained(tiny_det)
    with pytest.raises(UserError, match=r'--opset 9.*--opset 17'):
        export(cfg, checkpoint, f'{tmp_path}/model.onnx', opset=9)
    model = Looker(cfg, checkpoint, 'cpu').model
    letterbox = dict(type='mmela.ELACodeLetterbox', size=(64, 64), pad_val=128)
    cfg.test_dataloader.dataset.pipeline.insert(1, letterbox)
    with pytest.raises(UserError, match=r'pipeline.*ELACodeLetterbox'):
        settings_of(cfg, model, 64, 64, False)
