"""The configs that start from a classifier, against the classifiers that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmela import ELA
from mmela.engine import load_config

pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')

CONFIGS = Path(__file__).parents[2] / 'configs'
#: Those whose text names a checkpoint of a training of one's own.
CARRIED = [
    path
    for task in ('det', 'seg')
    for path in sorted((CONFIGS / task).rglob('*.py'))
    if 'work_dirs/' in path.read_text()
]


def build(cfg):
    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model.backbone)


@pytest.fixture(scope='module', params=CARRIED, ids=[path.stem for path in CARRIED])
def pair(request):
    """A carried config and that of its classifier, found by the path of the checkpoint."""
    carried = load_config(request.param)
    init_cfg = carried.model.backbone.init_cfg
    assert init_cfg.type == 'Pretrained' and init_cfg.prefix == 'backbone.'
    name, epoch = re.fullmatch(r'work_dirs/([^/]+)/epoch_(\d+)\.pth', init_cfg.checkpoint).groups()
    (path,) = (CONFIGS / 'cls').rglob(f'{name}.py')
    classifier = load_config(path)
    assert classifier.work_dir == f'work_dirs/{name}'
    assert classifier.train_cfg.max_epochs == int(epoch)
    return carried, classifier


@pytest.fixture(scope='module')
def networks(pair):
    """The carried backbone and the classifier's, whose every tensor is its own."""
    carried, classifier = (build(cfg) for cfg in pair)
    for tensor in classifier.state_dict().values():
        tensor.random_(0, 1000)
    return carried, classifier, carried.load_state_dict(classifier.state_dict(), strict=False)


def test_each_carried_config_is_looked_at():
    names = [path.name for path in CARRIED]
    assert {path.parts[-3] for path in CARRIED} == {'det', 'seg'}
    # Whoever has a classifier's data set in its name starts from one, and no other does.
    assert names == [
        path.name
        for task in ('det', 'seg')
        for path in sorted((CONFIGS / task).rglob('*.py'))
        if re.search(r'-(in1k|clothing)_', path.name)
    ]


def test_the_classifiers_backbone_fits_with_no_key_missing_and_none_left_over(pair, networks):
    carried, classifier, result = networks
    state = classifier.state_dict()
    assert not result.missing_keys and not result.unexpected_keys
    # MMSegmentation's MobileNetV2 ends before the convolution that feeds a classifier's head.
    has_no_last = pair[0].model.backbone.type == 'mmela.SegMobileNetV2'
    last = [key for key in state if key.startswith('conv2.') and has_no_last]
    assert len(last) == 6 * has_no_last  # a convolution and the five tensors of its norm
    assert len(carried.state_dict()) == len(state) - len(last)


def test_the_attention_is_the_classifiers_in_every_argument_and_tensor(pair, networks):
    carried, classifier, _ = networks
    theirs, ours = (
        [module for module in network.modules() if isinstance(module, ELA)]
        for network in (classifier, carried)
    )
    assert len(theirs) >= 16
    assert [repr(layer) for layer in ours] == [repr(layer) for layer in theirs]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    assert pair[0].model.backbone.plugins == pair[1].model.backbone.plugins


def test_the_pictures_are_normalised_as_the_classifiers(pair):
    carried, classifier = pair[0].model.data_preprocessor, pair[1].data_preprocessor
    assert carried.mean == classifier.mean and carried.std == classifier.std
    assert carried.bgr_to_rgb is classifier.to_rgb is True
