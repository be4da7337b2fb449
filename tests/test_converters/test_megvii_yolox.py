"""A checkpoint by Megvii's names is the same network in MMDetection, in every size."""

import pytest
import torch
from convert_yolox import convert_weights
from plain_yolox import PlainYOLOX, largest_difference, randomise


def config_of(size):
    return f'mmdet::yolox/yolox_{size}_8xb8-300e_coco.py'


@pytest.mark.parametrize('size', ['nano', 'tiny'])
def test_a_release_gives_the_same_head_outputs(size, build, convert_tool, tmp_path):
    plain = randomise(PlainYOLOX(size, 80))
    # As their trainer saves: the weights under 'model', and the state of the training.
    release = dict(start_epoch=300, model=plain.state_dict(), optimizer={'state': {}})
    torch.save(release, tmp_path / 'theirs.pth')
    status, out, err = convert_tool(
        'megvii_yolox.py', tmp_path / 'theirs.pth', tmp_path / 'ours.pth'
    )
    assert (status, err) == (0, '')
    assert f'YOLOX-{size}, 80 classes' in out and 'dropped: nothing' in out
    assert 'left in the source: start_epoch, optimizer' in out and config_of(size) in out
    # The authors' own start has the same names and shapes, but other preprocessing.
    assert 'images: BGR from 0 to 255, as in the configs of MMDetection' in out
    assert 'model_data/yolox_nano.pth of ELA_Code use ela_code_yolox.py' in out
    model = build(config_of(size))
    weights = torch.load(tmp_path / 'ours.pth', weights_only=True)['state_dict']
    model.load_state_dict(weights, strict=True)
    assert largest_difference(plain, model, torch.randn(2, 3, 96, 160)) < 1e-4


@pytest.mark.parametrize('size', ['s', 'x'])
def test_every_tensor_of_every_size_has_its_place(size, build):
    with torch.device('meta'):
        plain, model = PlainYOLOX(size, 80), build(config_of(size))
    converted = convert_weights(plain.state_dict(), attention=False)
    assert converted.size == size and converted.num_classes == 80
    shapes = {name: tensor.shape for name, tensor in converted.weights.items()}
    assert shapes == {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert len(shapes) == len(plain.state_dict())


def test_the_class_names_are_coco_s_in_their_order(convert_tool, tmp_path):
    torch.save({'model': PlainYOLOX('nano', 80).state_dict()}, tmp_path / 'theirs.pth')
    convert_tool('megvii_yolox.py', tmp_path / 'theirs.pth', tmp_path / 'ours.pth')
    meta = torch.load(tmp_path / 'ours.pth', weights_only=True)['meta']
    assert 'data_preprocessor' not in meta  # not known, so nothing to compare a config with
    classes = meta['dataset_meta']['classes']
    # By their numbers in COCO's annotations, which leave out 12, 26 and others.
    assert (len(classes), classes[0], classes[11], classes[-1]) == (
        80,
        'person',
        'stop sign',
        'toothbrush',
    )


def test_their_own_trainings_are_read_although_numpy_is_in_them(convert_tool, tmp_path):
    """`best_ap` comes from pycocotools and is no Python number."""
    import numpy as np

    state = PlainYOLOX('nano', 3).state_dict()
    torch.save({'model': state, 'best_ap': np.float64(0.25)}, tmp_path / 'best_ckpt.pth')
    status, out, err = convert_tool(
        'megvii_yolox.py', tmp_path / 'best_ckpt.pth', tmp_path / 'ours.pth'
    )
    assert (status, err) == (0, '')
    assert 'model.bbox_head.num_classes=3' in out and '--classes FILE sets them' in out
    assert 'dataset_meta' not in torch.load(tmp_path / 'ours.pth', weights_only=True)['meta']


def test_attention_is_refused_with_the_tool_that_knows_it(convert_tool, tmp_path):
    state = PlainYOLOX('nano', 20, attention=True).state_dict()
    torch.save(state, tmp_path / 'theirs.pth')
    status, _, err = convert_tool('megvii_yolox.py', tmp_path / 'theirs.pth', tmp_path / 'ours.pth')
    assert status == 2 and 'ela_code_yolox.py' in err and 'backbone.feat' in err
    assert not (tmp_path / 'ours.pth').exists()
