"""The configs that start from a classifier fit the classifier that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mmengine.registry import MODELS, init_default_scope

from mmela import ELA
from mmela.engine import load_config

pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')

CONFIGS = Path(__file__).parents[2] / 'configs'
#: Those whose text names a checkpoint from another training.
CARRIED = [
    path
    for task in ('det', 'seg')
    for path in sorted((CONFIGS / task).rglob('*.py'))
    if 'work_dirs/' in path.read_text()
]


def build(cfg):
    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model.backbone)


def test_a_config_with_the_data_set_of_a_classifier_in_its_name_starts_from_one():
    assert {path.parts[-3] for path in CARRIED} == {'det', 'seg'}
    assert CARRIED == [
        path
        for task in ('det', 'seg')
        for path in sorted((CONFIGS / task).rglob('*.py'))
        if re.search(r'-(in1k|clothing)_', path.name)
    ]


@pytest.mark.parametrize('path', CARRIED, ids=lambda path: path.stem)
def test_the_backbone_of_the_classifier_fits_in_every_key_and_argument(path):
    cfg = load_config(path)
    init_cfg = cfg.model.backbone.init_cfg
    assert init_cfg.type == 'Pretrained' and init_cfg.prefix == 'backbone.'
    name, epoch = re.fullmatch(r'work_dirs/([^/]+)/epoch_(\d+)\.pth', init_cfg.checkpoint).groups()
    (classifier_path,) = (CONFIGS / 'cls').rglob(f'{name}.py')
    classifier_cfg = load_config(classifier_path)
    assert classifier_cfg.work_dir == f'work_dirs/{name}'
    assert classifier_cfg.train_cfg.max_epochs == int(epoch)

    backbone, classifier = build(cfg), build(classifier_cfg)
    state = classifier.state_dict()
    result = backbone.load_state_dict(state, strict=False)
    assert not result.missing_keys and not result.unexpected_keys
    # MMSegmentation's MobileNetV2 ends before the convolution that feeds a classifier's head.
    ends_early = cfg.model.backbone.type == 'mmela.SegMobileNetV2'
    last = [key for key in state if key.startswith('conv2.') and ends_early]
    assert len(last) == 6 * ends_early  # a convolution and the five tensors of its norm
    assert len(backbone.state_dict()) == len(state) - len(last)

    ours, theirs = (
        [repr(module) for module in network.modules() if isinstance(module, ELA)]
        for network in (backbone, classifier)
    )
    assert len(ours) >= 16 and ours == theirs
    assert cfg.model.backbone.plugins == classifier_cfg.model.backbone.plugins

    preprocessor, theirs = cfg.model.data_preprocessor, classifier_cfg.data_preprocessor
    assert preprocessor.mean == theirs.mean and preprocessor.std == theirs.std
    assert preprocessor.bgr_to_rgb is theirs.to_rgb is True
