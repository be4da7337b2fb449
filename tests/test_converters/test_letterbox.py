"""The letterbox of the authors' YOLOX, and the boxes mapped back from it."""

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import TRANSFORMS, DefaultScope
from mmengine.structures import InstanceData
from PIL import Image

from mmela.det.letterbox import ELACodeLetterbox, LetterboxYOLOXHead
from mmela.engine import load_config
from mmela.errors import ConfigError

CONFIG = 'configs/det/yolox/yolox_nano-ela-t-neck_voc0712-ela-code.py'


def random_image(width, height):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def letterbox(width, height, **arguments):
    return ELACodeLetterbox(**arguments)({'img': random_image(width, height)})


def test_an_image_is_centred_on_grey():
    out = letterbox(500, 375)  # fits as 640 x 480
    frame = out['img']
    assert frame.shape == (640, 640, 3) and frame.dtype == np.uint8
    assert out['img_shape'] == (640, 640)
    assert (frame[:80] == 128).all() and (frame[560:] == 128).all()
    expected = np.asarray(Image.fromarray(random_image(500, 375)).resize((640, 480), Image.BICUBIC))
    assert np.array_equal(frame[80:560], expected)
    assert out['border'] == (80, 560, 0, 640)
    assert out['scale_factor'] == (1.28, 1.28)


def test_an_upright_image_has_its_border_left_and_right():
    out = letterbox(200, 400, size=(320, 320), pad_val=7)
    assert (out['img'][:, :80] == 7).all() and (out['img'][:, 240:] == 7).all()
    assert out['border'] == (0, 320, 80, 240)


def test_sides_round_down_in_the_image_and_to_the_nearest_for_boxes():
    """Both as in their code, which is half a pixel off where the sides are no whole numbers."""
    out = letterbox(500, 346)  # 442.88 rows
    grey_rows = (out['img'] == 128).all((1, 2))
    assert grey_rows.sum() == 640 - 442 and grey_rows[:99].all() and not grey_rows[99]
    assert out['border'] == (98.5, 541.5, 0, 640)
    assert out['scale_factor'] == pytest.approx((640 / 500, 443 / 346))


def test_annotations_in_front_of_it_are_refused():
    with pytest.raises(ConfigError, match='put LoadAnnotations behind it'):
        ELACodeLetterbox()({'img': random_image(40, 30), 'gt_bboxes': np.zeros((0, 4))})


def test_both_are_found_by_their_prefixed_names():
    with DefaultScope.overwrite_default_scope('mmdet'):
        assert TRANSFORMS.get('mmela.ELACodeLetterbox') is ELACodeLetterbox
        assert MODELS.get('mmela.LetterboxYOLOXHead') is LetterboxYOLOXHead


def post_process(head_type, meta, rescale=True):
    # An earlier test may have left another toolbox's scope in force.
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = MODELS.build(dict(type=head_type, num_classes=1, in_channels=8, feat_channels=8))
    boxes = torch.tensor([[10.0, 100.0, 110.0, 300.0]])
    found = InstanceData(bboxes=boxes, scores=torch.ones(1), labels=torch.zeros(1).long())
    cfg = ConfigDict(nms=dict(type='nms', iou_threshold=0.5))
    return head._bbox_post_process(found, cfg, rescale=rescale, img_meta=meta).bboxes


def test_a_box_is_mapped_back_to_the_image():
    out = letterbox(500, 375)
    meta = {name: out[name] for name in ('scale_factor', 'border')}
    found = post_process('mmela.LetterboxYOLOXHead', meta)
    expected = torch.tensor([[10, 20, 110, 220]]) / 1.28
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('rescale', [True, False])
def test_without_a_border_the_head_is_its_parent(rescale):
    meta = dict(scale_factor=(2.0, 4.0))
    ours = post_process('mmela.LetterboxYOLOXHead', meta, rescale)
    assert torch.equal(ours, post_process('mmdet.YOLOXHead', meta, rescale))


def test_boxes_that_are_not_rescaled_stay_in_the_frame():
    meta = dict(scale_factor=(1.0, 1.0), border=(80, 560, 0, 640))
    found = post_process('mmela.LetterboxYOLOXHead', meta, rescale=False)
    assert torch.equal(found, torch.tensor([[10.0, 100.0, 110.0, 300.0]]))


@pytest.mark.parametrize(
    'loader, width, height', [('val_dataloader', 500, 375), ('test_dataloader', 123, 401)]
)
def test_the_config_preprocesses_an_image_as_their_code_does(
    loader, width, height, repo_root, tmp_path
):
    rgb = Image.fromarray(random_image(width, height))
    rgb.save(tmp_path / 'a.png')  # lossless
    cfg = load_config(repo_root / CONFIG)
    with DefaultScope.overwrite_default_scope('mmdet'):
        pipeline = Compose(cfg[loader].dataset.pipeline)
        preprocessor = MODELS.build(cfg.model.data_preprocessor)
        head = MODELS.build(cfg.model.bbox_head)
    packed = pipeline(dict(img_path=str(tmp_path / 'a.png'), img_id=0, instances=[]))
    batch = preprocessor(pseudo_collate([packed]))

    scale = min(640 / width, 640 / height)
    new_width, new_height = int(width * scale), int(height * scale)
    frame = Image.new('RGB', (640, 640), (128, 128, 128))
    left, top = (640 - new_width) // 2, (640 - new_height) // 2
    frame.paste(rgb.resize((new_width, new_height), Image.BICUBIC), (left, top))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((np.asarray(frame) / 255 - mean) / std).transpose(2, 0, 1)[None]
    found = batch['inputs'].numpy()
    assert found.shape == (1, 3, 640, 640)
    np.testing.assert_allclose(found, expected, atol=1e-5)

    # And the head of the config maps the border of the image back to its corners, within
    # the pixel by which their sides are rounded.
    edges = torch.tensor([[left, top, left + new_width, top + new_height]]).float()
    box = InstanceData(bboxes=edges, scores=torch.ones(1), labels=torch.zeros(1).long())
    meta = batch['data_samples'][0].metainfo
    back = head._bbox_post_process(box, cfg.model.test_cfg, rescale=True, img_meta=meta).bboxes
    corners = torch.tensor([[0.0, 0.0, width, height]])
    torch.testing.assert_close(back, corners, atol=1 / scale, rtol=0)


def test_the_config_tests_with_the_thresholds_behind_their_map(repo_root):
    """`confidence` and `nms_iou` of EvalCallback in their YOLOX/utils/callbacks.py."""
    test_cfg = load_config(repo_root / CONFIG).model.test_cfg
    assert (test_cfg.score_thr, test_cfg.nms.iou_threshold) == (0.05, 0.5)
