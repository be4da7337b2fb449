"""``predict`` says what a test of the same checkpoint says, image by image."""

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from mmengine.fileio import load

from mmela import engine
from mmela.commands.inputs import find_images
from mmela.commands.predict import predict, to_json
from mmela.engine import UserError

pytestmark = [pytest.mark.long, pytest.mark.core]


@pytest.fixture(scope='module')
def images(shapes_root):
    return sorted(str(path) for path in (shapes_root / 'JPEGImages').glob('val_*.jpg'))


def config(name, shapes_root, work_dir):
    options = {'data_root': str(shapes_root), 'test_dataloader.num_workers': 0}
    return engine.load_config(name, options, work_dir=str(work_dir))


def test_boxes_are_those_of_a_test(repo_root, shapes_root, images, tmp_path):
    name = f'{repo_root}/configs/det/yolox/yolox_nano_shapes.py'
    weights = f'{repo_root}/weights/yolox_nano_shapes.pth'
    found = list(predict(config(name, shapes_root, tmp_path), weights, images, batch_size=3))

    cfg = config(name, shapes_root, tmp_path)
    engine.keep_predictions(cfg, f'{tmp_path}/boxes.pkl')
    engine.test(cfg, weights)
    tested = {item['img_path']: item['pred_instances'] for item in load(tmp_path / 'boxes.pkl')}
    assert [result['image'] for result in found] == images
    for result in found:
        expected = tested[result['image']]
        kept = expected['scores'] >= 0.3
        boxes = np.array([box['box'] for box in result['boxes']]).reshape(-1, 4)
        np.testing.assert_allclose(boxes, expected['bboxes'][kept].numpy(), atol=0.02)
        scores = [box['score'] for box in result['boxes']]
        np.testing.assert_allclose(scores, expected['scores'][kept].numpy(), atol=1e-4)


def test_label_maps_are_those_of_a_test(repo_root, shapes_root, images, tmp_path):
    name = f'{repo_root}/configs/seg/deeplabv3/deeplabv3_r18_shapes.py'
    weights = f'{repo_root}/weights/deeplabv3_r18_shapes.pth'
    out = tmp_path / 'drawn'
    found = list(predict(config(name, shapes_root, tmp_path), weights, images, out=str(out)))

    cfg = config(name, shapes_root, tmp_path)
    engine.keep_predictions(cfg, f'{tmp_path}/maps')
    engine.test(cfg, weights)
    for result in found:
        mask = cv2.imread(result['mask'], cv2.IMREAD_UNCHANGED)
        stem = result['image'].rpartition('/')[2].replace('.jpg', '.png')
        assert np.array_equal(mask, cv2.imread(f'{tmp_path}/maps/{stem}', cv2.IMREAD_UNCHANGED))
        assert sum(result['pixels'].values()) == pytest.approx(1, abs=1e-3)
        assert cv2.imread(result['drawn']).shape == cv2.imread(result['image']).shape
    assert json.loads(to_json(found)) == found


def test_inputs_are_files_folders_and_patterns(images, tmp_path):
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        shutil.copy(images[0], tmp_path / folder / 'same.JPG')
    (tmp_path / 'a' / 'notes.txt').write_text('no image')
    two = [f'{tmp_path}/a/same.JPG', f'{tmp_path}/b/same.JPG']
    assert find_images(str(tmp_path)) == two
    assert find_images([two[1], str(tmp_path)]) == two[::-1]
    assert find_images(f'{tmp_path}/*/same.*') == two


@pytest.mark.parametrize('content', [b'', b'no image at all'])
def test_what_is_no_image_is_named(content, tmp_path):
    (tmp_path / 'broken.png').write_bytes(content)
    with pytest.raises(UserError, match=r'broken\.png'):
        find_images(str(tmp_path))
    with pytest.raises(UserError, match='nowhere'):
        find_images('nowhere/*.jpg')


def test_the_inferencer_of_mmsegmentation_takes_the_config_of_a_work_dir(
    repo_root, shapes_root, images, tmp_path
):
    """In a process that does not import mmela first, as a config with mmseg::... would need."""
    cfg = config(
        f'{repo_root}/configs/seg/deeplabv3/deeplabv3_r18_shapes.py', shapes_root, tmp_path
    )
    cfg.dump(tmp_path / 'run.py')
    weights = f'{repo_root}/weights/deeplabv3_r18_shapes.pth'
    code = (
        'import sys\n'
        'from mmseg.apis import MMSegInferencer\n'
        'config, weights, image, out = sys.argv[1:]\n'
        "MMSegInferencer(config, weights=weights, device='cpu')(image, out_dir=out)\n"
    )
    words = [sys.executable, '-c', code, tmp_path / 'run.py', weights, images[0], tmp_path / 'out']
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    drawn = cv2.imread(f'{tmp_path}/out/vis/{images[0].rpartition("/")[2]}')
    assert drawn.shape == cv2.imread(images[0]).shape
