"""``look``: gates as the formula has them, cropped to the image, and maps that find objects."""

from collections import OrderedDict

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from torch import nn

from mmela import ELA, SE, engine
from mmela.commands.look import Looker, look, pointing_score
from mmela.engine import UserError
from mmela.visualization.cam import share_inside
from mmela.visualization.gates import gate_maps
from mmela.visualization.view import crop_to_image, view_of

pytestmark = [pytest.mark.long, pytest.mark.core]

DETECTOR = 'configs/det/yolox/yolox_nano_shapes.py', 'weights/yolox_nano_shapes.pth'
ATTENTION = 'configs/det/yolox/yolox_nano-ela-t_shapes.py', 'weights/yolox_nano_shapes.pth'
SEGMENTER = 'configs/seg/deeplabv3/deeplabv3_r18_shapes.py', 'weights/deeplabv3_r18_shapes.pth'


@pytest.fixture
def images(shapes_root):
    return sorted(str(path) for path in (shapes_root / 'JPEGImages').glob('val_*.jpg'))[:2]


@pytest.fixture
def looker(repo_root, shapes_root):
    def make(names):
        config, weights = (str(repo_root / name) for name in names)
        cfg = engine.load_config(config, {'data_root': str(shapes_root)})
        return Looker(cfg, weights, 'cpu')

    return make


@pytest.mark.parametrize('residual', [False, True, 'scaled'])
def test_the_factor_is_what_the_layer_multiplies_by(residual):
    torch.manual_seed(0)
    layer = ELA(16, residual=residual).double()
    if residual == 'scaled':
        torch.nn.init.normal_(layer.scale)
    x = torch.rand(2, 16, 5, 7, dtype=torch.float64) + 0.5
    maps = gate_maps(layer, x)
    with torch.no_grad():
        factor = (layer(x) / x).mean(1).numpy()
    np.testing.assert_allclose(maps.factor, factor, rtol=1e-5)
    assert [gate.shape for gate in maps.gates] == [(2, 5, 1), (2, 1, 7)]


def test_a_channel_gate_is_flat():
    maps = gate_maps(SE(16), torch.rand(1, 16, 4, 6))
    assert maps.product.shape == (1, 4, 6) and np.ptp(maps.product) == 0


def test_padding_is_cropped():
    values = np.zeros((4, 4), np.float32)
    values[:, 2:] = 1  # the right half of the input
    cropped = crop_to_image(values, (64, 64), (0, 48, 0, 32))
    assert cropped.shape == (48, 32) and cropped[:, :20].max() == 0
    assert crop_to_image(values, (64, 64), (8, 56, 32, 64)).shape == (48, 32)


def test_figures_and_arrays_of_the_gates(looker, images, tmp_path):
    attention = looker(ATTENTION)
    files = list(look(attention, images, str(tmp_path), layers=['*stage[34]*'], save_npz=True))
    assert [cv2.imread(file) is not None for file in files] == [True, True]
    arrays = np.load(files[0].replace('.png', '.npz'))
    assert {name.partition('/')[0] for name in arrays} == {
        'backbone.stage3.ela',
        'backbone.stage4.ela',
    }
    product = arrays['backbone.stage3.ela/product']
    assert product.shape == (192, 192)  # what the test pipeline resizes to
    assert 0 < product.min() < product.max() < 1


def test_what_cannot_be_looked_at_is_named(looker, images, tmp_path):
    with pytest.raises(UserError, match='--cam'):
        list(look(looker(DETECTOR), images, str(tmp_path)))
    with pytest.raises(UserError, match=r"did you mean 'backbone\.stage3\.ela'"):
        list(look(looker(ATTENTION), images, str(tmp_path), layers=['backbone.stage3.eal']))
    with pytest.raises(UserError, match='eigencam'):
        list(look(looker(DETECTOR), images, str(tmp_path), cam='eigen'))


def test_share_inside_of_an_even_map_is_the_area():
    masks = np.zeros((2, 8, 8), bool)
    masks[:, :4, :4] = True
    maps = np.stack([np.ones((8, 8)), masks[1].astype(float)])
    np.testing.assert_allclose(share_inside(maps, masks), [0.25, 1])


@pytest.mark.parametrize('names', [DETECTOR, SEGMENTER], ids=['detector', 'segmenter'])
def test_the_maps_of_a_trained_network_find_the_objects(names, looker, images, tmp_path):
    """A map without any information has as much of itself inside objects as they cover."""
    pytest.importorskip('pytorch_grad_cam', reason='grad-cam is not installed')
    network = looker(names)
    for method in ('layercam', 'eigencam'):
        (file,) = look(network, images[:1], str(tmp_path), cam=method)
        assert cv2.imread(file) is not None
    score = pointing_score(network, 'layercam', limit=4)
    assert score['images'] == 4 and score['share'] > 1.3 * score['area'], score


def test_a_training_logs_the_maps_after_each_validation(
    repo_root, shapes_root, tmp_path, monkeypatch
):
    from mmdet.visualization import DetLocalVisualizer

    # MMEngine keeps one visualizer of a name per process, with the folder of its first run.
    monkeypatch.setattr(DetLocalVisualizer, '_instance_dict', OrderedDict())
    options = {
        'data_root': str(shapes_root),
        'load_from': None,
        'train_cfg.max_epochs': 1,
        'train_dataloader.num_workers': 0,
        'val_dataloader.num_workers': 0,
        'custom_hooks': [dict(type='mmela.AttentionMapHook')],
    }
    config = repo_root / 'configs/det/yolox/yolox_nano-ela-t_shapes.py'
    engine.train(engine.load_config(config, options, work_dir=str(tmp_path)))
    (image,) = tmp_path.glob('*/vis_data/vis_image/attention_*.png')
    assert cv2.imread(str(image)).shape[0] > 300  # three layers, one below the other


def test_padding_of_the_pipeline_is_cropped_too():
    """MMDetection's `Pad` sets ``img_shape`` to the padded size; the image was 30 x 40 pixels."""
    meta = dict(img_shape=(64, 64), ori_shape=(30, 40), scale_factor=(1.5, 1.5))
    sample = BaseDataElement(metainfo=meta)
    batch = dict(inputs=torch.zeros(1, 3, 64, 64), data_samples=[sample])
    view = view_of(batch, nn.Identity())
    assert view.box == (0, 45, 0, 60) and view.image.shape == (45, 60, 3)
