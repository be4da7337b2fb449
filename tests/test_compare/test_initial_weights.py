"""Which initial weights a network takes over from the reference."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope

from mmela.analysis.compare.weights import ReferenceWeightsHook
from mmela.engine import load_config


@pytest.fixture
def model(tiny_det):
    cfg = load_config(tiny_det)
    init_default_scope(cfg.default_scope)
    return cfg.model


def start(model, reference):
    """A network, what it was before, and what it is after the hook."""
    network = MODELS.build(model)
    network.init_weights()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    logger = MMLogger.get_current_instance()
    runner = SimpleNamespace(iter=0, epoch=0, model=network, cfg=Config(), logger=logger)
    ReferenceWeightsHook(reference, seed=3).before_train(runner)
    return before, network.state_dict()


@pytest.fixture
def pretrained(model, tmp_path):
    """The model with a backbone from a file."""
    torch.save(MODELS.build(model.backbone).state_dict(), tmp_path / 'backbone.pth')
    changed = Config(dict(model=model)).model
    changed.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'backbone.pth'))
    return changed


def own_backbone(model, init_cfg):
    changed = Config(dict(model=model)).model
    changed.backbone.init_cfg = init_cfg
    return changed


def changed_parts(before, after):
    weights = (name for name in before if name.endswith('conv.weight') and 'ela' not in name)
    return {name.split('.')[0] for name in weights if not torch.equal(before[name], after[name])}


def test_it_takes_over_all_that_the_networks_share(model):
    _, first = start(model, model)
    _, second = start(model, model)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert changed_parts(*start(model, model)) == {'backbone', 'neck', 'bbox_head'}


@pytest.mark.parametrize('is_reference', [False, True])
def test_a_backbone_that_one_of_them_loads_is_not_shared(model, pretrained, is_reference):
    models = (model, pretrained) if is_reference else (pretrained, model)
    assert changed_parts(*start(*models)) == {'neck', 'bbox_head'}


def test_all_ways_to_name_a_pretrained_start_count(model, pretrained):
    loaded = dict(pretrained.backbone.init_cfg)
    start_of_stem = dict(loaded, prefix='stem.', name='stem')
    for init_cfg, part in (
        ([dict(type='Constant', layer='Linear', val=0), loaded], 'backbone'),
        (dict(loaded, type='mmengine.Pretrained'), 'backbone'),
        (dict(type='Constant', layer='Linear', val=0, override=start_of_stem), 'backbone.stem'),
    ):
        before, after = start(own_backbone(model, init_cfg), model)
        for name in before:
            if name.startswith(f'{part}.'):
                assert torch.equal(before[name], after[name])
        assert {'neck', 'bbox_head'} <= changed_parts(before, after)


def test_a_backbone_that_both_load_is_shared(pretrained):
    before, after = start(pretrained, pretrained)
    assert changed_parts(before, after) == {'neck', 'bbox_head'}  # the same numbers
    file = torch.load(pretrained.backbone.init_cfg.checkpoint)
    assert all(torch.equal(after[f'backbone.{name}'], tensor) for name, tensor in file.items())
