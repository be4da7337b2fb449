"""The authors' checkpoint predicts in MMDetection what it predicts in the authors' own code.

Their repository has no licence and is no part of this one, so this needs a clone of it:

    MMELA_ELA_CODE=PATH/ELA_Code pytest -s tests/test_converters/test_ela_code_parity.py

MMELA_PHOTOS adds folders of photographs (.jpg), with the path separator of the system between them.
"""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.sax.saxutils import escape

import cv2
import pytest
import torch
from convert_yolox import convert_yolox
from mmdet.registry import DATASETS, MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from PIL import Image

from mmela import engine

CLONE = os.environ.get('MMELA_ELA_CODE', '')
CHECKPOINT = 'YOLOX/logs/ELA72/best_epoch_weights.pth'
START = 'YOLOX/model_data/yolox_nano.pth'
CONFIG = 'configs/det/yolox/yolox_nano-ela-t-neck_voc0712-ela-code.py'
#: Confidence and NMS: what their mAP was measured with, and what their predictor shows.
THRESHOLDS = [(0.05, 0.5), (0.5, 0.3)]
SCORE_TOLERANCE = 0.01

pytestmark = pytest.mark.skipif(
    not CLONE, reason='MMELA_ELA_CODE names no clone of github.com/Xuwei86/ELA_Code'
)


def is_readable(photo):
    try:
        with Image.open(photo) as image:
            image.load()
    except OSError:  # one of their eleven is truncated, and their code stops at it too
        return False
    return True


@pytest.fixture(scope='module')
def photos():
    folders = [Path(CLONE).absolute() / 'YOLOX/VOCdevkit/VOC2007/JPEGImages']
    folders += map(Path, filter(None, os.environ.get('MMELA_PHOTOS', '').split(os.pathsep)))
    by_name = {path.name: path for folder in folders for path in sorted(folder.glob('*.jpg'))}
    found = [str(path.absolute()) for path in by_name.values() if is_readable(path)]
    assert found, f'no photographs in {folders}'
    return found


@pytest.fixture(scope='module')
def ours(photos, repo_root, tmp_path_factory):
    """The config with the converted checkpoint, and a VOC data set of the photographs."""
    root = tmp_path_factory.mktemp('voc')
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / 'VOC2007' / folder).mkdir(parents=True)
    for photo in photos:
        (root / 'VOC2007/JPEGImages' / Path(photo).name).symlink_to(photo)
        write_annotation(root, photo, torch.zeros(0, 7), [])
    names = [Path(photo).stem for photo in photos]
    (root / 'VOC2007/ImageSets/Main/test.txt').write_text('\n'.join(names))
    checkpoint = str(root / 'ela72.pth')
    print(convert_yolox(str(Path(CLONE) / CHECKPOINT), checkpoint, from_ela_code=True))

    cfg = engine.load_config(repo_root / CONFIG, {'data_root': f'{root}/'})
    model = MODELS.build(cfg.model).eval()
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    model.load_state_dict(weights, strict=True)
    return SimpleNamespace(root=root, cfg=cfg, model=model, checkpoint=checkpoint)


@pytest.fixture(scope='module')
def tensors(ours):
    """What reaches our network of four photographs, and two random tensors."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(ours.cfg.test_dataloader.dataset)
    torch.manual_seed(0)
    photos = [
        ours.model.data_preprocessor(pseudo_collate([dataset[i]]))['inputs'] for i in range(4)
    ]
    return [*photos, torch.randn(2, 3, 320, 416), torch.randn(1, 3, 640, 640)]


@pytest.fixture(scope='module')
def theirs(photos, tensors, tmp_path_factory):
    """What their own code makes of the same; see run_ela_code.py."""
    folder = tmp_path_factory.mktemp('theirs')
    clone = Path(CLONE).absolute()
    job = dict(
        clone=str(clone),
        checkpoint=str(clone / CHECKPOINT),
        start=str(clone / START),
        photos=photos,
        tensors=tensors,
        thresholds=THRESHOLDS,
    )
    torch.save(job, folder / 'job.pt')
    script = Path(__file__).with_name('run_ela_code.py')
    done = subprocess.run(
        [sys.executable, script, folder / 'job.pt', folder / 'result.pt'],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return torch.load(folder / 'result.pt')


def test_their_pictures_reach_the_network_as_they_do_in_their_code(tensors, theirs):
    differences = [
        (x - y).abs().max().item() for x, y in zip(tensors, theirs['inputs'], strict=False)
    ]
    print(f'\nnetwork inputs of {len(differences)} photographs: at most {max(differences):.1e}')
    assert len(differences) == 4 and max(differences) < 1e-5


@torch.no_grad()
def compare_heads(model, tensors, all_their_maps):
    """Prints and checks the difference of the maps of boxes, objectness and classes."""
    worst = largest = 0.0
    for x, their_maps in zip(tensors, all_their_maps, strict=True):
        for cls, reg, obj, their_map in zip(*model._forward(x), their_maps, strict=True):
            worst = max(worst, (torch.cat([reg, obj, cls], 1) - their_map).abs().max().item())
            largest = max(largest, their_map.abs().max().item())
    print(f'\nhead outputs up to {largest:.0f} of {len(tensors)} tensors: at most {worst:.1e}')
    assert worst < 1e-4 and largest > 1


def test_all_head_outputs_agree_on_the_same_tensor(ours, tensors, theirs):
    compare_heads(ours.model, tensors, theirs['heads'])


def test_those_of_their_start_without_attention_agree_too(tensors, theirs, build, tmp_path):
    print(convert_yolox(str(Path(CLONE) / START), str(tmp_path / 'start.pth'), from_ela_code=True))
    model = build('mmdet::yolox/yolox_nano_8xb8-300e_coco.py')
    weights = torch.load(tmp_path / 'start.pth', weights_only=True)['state_dict']
    model.load_state_dict(weights, strict=True)
    compare_heads(model, tensors, theirs['start_heads'])


@pytest.mark.parametrize('thresholds', THRESHOLDS)
def test_tools_test_finds_the_boxes_that_their_predictor_finds(
    ours, photos, theirs, thresholds, repo_root, tmp_path
):
    confidence, nms_iou = thresholds
    classes = DATASETS.get('VOCDataset').METAINFO['classes']
    for photo in photos:
        write_annotation(
            ours.root, photo, theirs['detections'][confidence, nms_iou, photo], classes
        )
    options = {
        'data_root': f'{ours.root}/',
        'model.test_cfg.score_thr': confidence,
        'model.test_cfg.nms.iou_threshold': nms_iou,
        'test_dataloader.num_workers': 0,
        'test_dataloader.persistent_workers': False,
    }
    command = [sys.executable, repo_root / 'tools/test.py', repo_root / CONFIG, ours.checkpoint]
    command += ['--work-dir', tmp_path, '--out', tmp_path / 'ours.pkl', '--cfg-options']
    command += [f'{key}={value}' for key, value in options.items()]
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:]

    predictions = {
        Path(p['img_path']).name: p['pred_instances']
        for p in pickle.loads((tmp_path / 'ours.pkl').read_bytes())
    }
    assert len(predictions) == len(photos)
    found = compare_boxes(theirs, predictions, photos, thresholds)
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    print(f'mAP against the boxes of their code: {metrics}')
    # A box whose score is the threshold, give or take, may be on one side alone; no other may.
    assert all(score < confidence + SCORE_TOLERANCE for score in found.alone)
    assert len(found.alone) <= 0.02 * len(found.ious)
    assert min(found.ious) > 0.98
    assert max(found.scores) < SCORE_TOLERANCE
    # The ground truth was written from their boxes, so the evaluation has to find it, in the
    # right class and in the photograph's own coordinates.
    assert metrics['pascal_voc/mAP'] > 0.99


@torch.no_grad()
def test_with_the_picture_in_a_corner_of_the_frame_they_disagree(ours, photos, theirs):
    """All else being equal: what a transform of their own in the config is for."""
    load, _, _, pack = ours.cfg.test_pipeline
    resize = dict(
        type='Resize', scale=(640, 640), keep_ratio=True, interpolation='bicubic', backend='pillow'
    )
    pad = dict(type='Pad', size=(640, 640), pad_val=dict(img=(128, 128, 128)))
    keys = tuple(key for key in pack['meta_keys'] if key != 'border')
    with DefaultScope.overwrite_default_scope('mmdet'):
        pipeline = Compose([load, resize, pad, dict(pack, meta_keys=keys)])
    predictions = {}
    for photo in photos:
        batch = pseudo_collate([pipeline(dict(img_path=photo, img_id=0))])
        predictions[Path(photo).name] = ours.model.test_step(batch)[0].pred_instances
    found = compare_boxes(theirs, predictions, photos, THRESHOLDS[0])
    assert max(found.scores) > 5 * SCORE_TOLERANCE and min(found.ious) < 0.9


def compare_boxes(theirs, predictions, photos, thresholds):
    """Pairs the boxes of all photographs, and prints what came of it."""
    found = SimpleNamespace(ious=[], scores=[], alone=[])
    for photo in photos:
        their_boxes = theirs['detections'][(*thresholds, photo)]
        pairs, alone = match(their_boxes, predictions[Path(photo).name])
        found.ious += [iou for iou, _ in pairs]
        found.scores += [difference for _, difference in pairs]
        found.alone += alone
    print(
        f'\nconfidence, NMS {thresholds}: {len(found.ious)} pairs of boxes on {len(photos)} '
        f'photographs, IoU at least {min(found.ious):.5f}, scores within {max(found.scores):.1e}; '
        f'{len(found.alone)} boxes without a partner'
    )
    return found


def match(their_boxes, our_boxes):
    """Pairs boxes of one class by overlap, best scores first.

    Returns the IoU and the difference of the scores of each pair, and the scores of the rest.
    """
    theirs_xyxy = their_boxes[:, [1, 0, 3, 2]]
    their_scores = their_boxes[:, 4] * their_boxes[:, 5]
    ious = bbox_overlaps(theirs_xyxy, our_boxes['bboxes'])
    ious[their_boxes[:, 6].long()[:, None] != our_boxes['labels'][None]] = 0
    pairs, free = [], set(range(len(our_boxes['scores'])))
    alone = []
    for i in their_scores.argsort(descending=True).tolist():
        best = max(free, key=lambda j: ious[i, j], default=None)
        if best is None or ious[i, best] < 0.5:
            alone.append(their_scores[i].item())
            continue
        free.remove(best)
        difference = (their_scores[i] - our_boxes['scores'][best]).abs().item()
        pairs.append((ious[i, best].item(), difference))
    return pairs, alone + [our_boxes['scores'][j].item() for j in free]


def write_annotation(root, photo, boxes, classes):
    """A VOC annotation with the boxes of their code, whole pixels that count from one."""
    height, width = cv2.imread(photo).shape[:2]
    objects = ''
    for top, left, bottom, right, _, _, label in boxes.tolist():
        corners = zip(('xmin', 'ymin', 'xmax', 'ymax'), (left, top, right, bottom), strict=True)
        box = ''.join(f'<{name}>{round(value) + 1}</{name}>' for name, value in corners)
        name = escape(classes[int(label)])
        objects += (
            f'<object><name>{name}</name><difficult>0</difficult><bndbox>{box}</bndbox></object>'
        )
    size = f'<size><width>{width}</width><height>{height}</height><depth>3</depth></size>'
    path = root / 'VOC2007/Annotations' / f'{Path(photo).stem}.xml'
    path.write_text(f'<annotation>{size}{objects}</annotation>')
