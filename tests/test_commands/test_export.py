"""An exported file gives what the network gives, by ONNX Runtime and without torch."""

import json
import subprocess
import sys

import numpy as np
import pytest

from mmela import engine
from mmela.commands.export import export
from mmela.commands.predict import predict
from mmela.engine import UserError

pytestmark = [pytest.mark.long, pytest.mark.core]

pytest.importorskip('onnxruntime', reason='onnx and onnxruntime are not installed')
pytest.importorskip('onnx')

DETECTOR = 'configs/det/yolox/yolox_nano_shapes.py', 'weights/yolox_nano_shapes.pth'
SEGMENTER = 'configs/seg/deeplabv3/deeplabv3_r18_shapes.py', 'weights/deeplabv3_r18_shapes.pth'


@pytest.fixture
def images(shapes_root):
    return sorted(str(path) for path in (shapes_root / 'JPEGImages').glob('val_*.jpg'))


def load(repo_root, names, shapes_root):
    config, weights = (str(repo_root / name) for name in names)
    return engine.load_config(config, {'data_root': str(shapes_root)}), weights


@pytest.mark.parametrize('names', [DETECTOR, SEGMENTER], ids=['detector', 'segmenter'])
@pytest.mark.parametrize('dynamic', [False, True])
def test_onnx_runtime_agrees_at_every_size(names, dynamic, repo_root, shapes_root, tmp_path):
    cfg, weights = load(repo_root, names, shapes_root)
    exported = export(cfg, weights, f'{tmp_path}/model.onnx', dynamic=dynamic)
    assert len(exported.differences) == (3 if dynamic else 1)
    assert max(exported.differences.values()) < 1e-3


def test_it_runs_without_torch_and_finds_the_same_boxes(repo_root, shapes_root, images, tmp_path):
    cfg, weights = load(repo_root, DETECTOR, shapes_root)
    export(cfg, weights, f'{tmp_path}/model.onnx')
    tool = repo_root / 'tools/deployment/run_onnx.py'
    without_torch = (
        'import sys, runpy; sys.modules["torch"] = None; sys.argv = sys.argv[1:]; '
        'runpy.run_path(sys.argv[0], run_name="__main__")'
    )
    done = subprocess.run(
        [sys.executable, '-c', without_torch, str(tool), f'{tmp_path}/model.onnx', *images],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for ours, theirs in zip(json.loads(done.stdout), predict(cfg, weights, images), strict=True):
        assert [b['class'] for b in ours['boxes']] == [b['class'] for b in theirs['boxes']]
        for mine, other in zip(ours['boxes'], theirs['boxes'], strict=True):
            np.testing.assert_allclose(mine['box'], other['box'], atol=0.1)
            assert mine['score'] == pytest.approx(other['score'], abs=1e-3)


def test_two_stages_are_answered_with_what_to_do(tmp_path):
    cfg = engine.load_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    from mmela.commands.export_outputs import check_kind

    class TwoStages:
        roi_head = True

    with pytest.raises(UserError, match='MMDeploy'):
        check_kind(TwoStages())
    with pytest.raises(UserError, match=r'\.onnx'):
        export(cfg, 'x.pth', f'{tmp_path}/model.trt')
