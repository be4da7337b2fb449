"""Every config that ships: it parses, builds, runs forward and takes a step of its loss on CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope

import mmela
from mmela.runtime import load_config

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / 'configs').glob('[dsc]*/*/*.py'))
WITH_ELA = [name for name in CONFIGS if '-ela-' in name]
#: ELA layers behind three stages of CSPDarknet, and in every block of stages 2 to 4 of a ResNet.
LAYERS = {'yolox': 3, '_r18': 6, '_r50': 4 + 6 + 3, '_r101': 4 + 23 + 3}


def load(name):
    cfg = Config.fromfile(ROOT / name)
    init_default_scope(cfg.default_scope)
    # Pretrained weights are downloads.
    if 'pretrained' in cfg.model:
        cfg.model.pretrained = None
    elif 'init_cfg' in cfg.model.backbone:
        cfg.model.backbone.init_cfg = None
    return cfg


def build(cfg):
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    return model


def make_batch(cfg, model, training):
    """Two random images with boxes, or with a random label map."""
    if cfg.default_scope == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        num_classes = getattr(model, 'bbox_head', None) or model.roi_head.bbox_head
        data = demo_mm_inputs(2, [[3, 96, 96]] * 2, num_classes=num_classes.num_classes)
    else:
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        data = dict(inputs=[], data_samples=[])
        for _ in range(2):
            labels = torch.randint(0, model.decode_head.num_classes, (1, 64, 64))
            meta = dict(img_shape=(64, 64), ori_shape=(64, 64), pad_shape=(64, 64))
            sample = SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels))
            data['inputs'].append(torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8))
            data['data_samples'].append(sample)
        model.data_preprocessor.size = (64, 64)
    # The multi-scale training of YOLOX asks which iteration it is.
    MessageHub.get_current_instance().update_info('iter', 0)
    return model.data_preprocessor(data, training)


def attention_layers(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, mmela.ELA)}


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_runs_forward_and_takes_a_step_of_its_loss(name):
    cfg = load(name)
    model = build(cfg).train()
    losses = model(**make_batch(cfg, model, training=True), mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert torch.isfinite(loss)
    for layer_name, layer in attention_layers(model).items():
        for parameter in layer.parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), layer_name
    with torch.no_grad():
        results = model.eval()(**make_batch(cfg, model, training=False), mode='predict')
    assert len(results) == 2


@pytest.mark.parametrize('name', WITH_ELA)
def test_a_config_holds_the_attention_that_its_name_says(name):
    cfg = load(name)
    with torch.device('meta'):
        layers = attention_layers(MODELS.build(cfg.model))
    expected = next(count for part, count in LAYERS.items() if part in name)
    variant = name.split('-ela-')[1][0].upper()
    assert len(layers) == expected
    assert {layer.variant for layer in layers.values()} == {variant}


@pytest.mark.parametrize('name', [n for n in WITH_ELA if '-c3-c5' in n])
def test_configs_on_pretrained_weights_are_scaled_or_the_authors_residual(name):
    residual = True if '-residual-' in name else 'scaled'
    plugins = Config.fromfile(ROOT / name).model.backbone.plugins
    assert [plugin.cfg.residual for plugin in plugins] == [residual]


@pytest.mark.parametrize('name', [n for n in WITH_ELA if 'scaled' in (ROOT / n).read_text()])
def test_a_scaled_config_starts_as_its_parent_network(name):
    cfg = load(name)
    model = build(cfg).eval()
    plain_cfg = load(name)
    plain_cfg.model.backbone.plugins = None
    plain = build(plain_cfg).eval()
    assert attention_layers(model) and not attention_layers(plain)
    result = plain.load_state_dict(model.state_dict(), strict=False)
    assert result.missing_keys == [] and all('.ela.' in key for key in result.unexpected_keys)
    x = torch.randn(1, 3, 64, 64)
    for network in (model, plain):  # `zero_init_residual` would hide what a block computes
        for layer_name, module in network.backbone.named_modules():
            if layer_name.endswith('.bn3'):
                torch.nn.init.ones_(module.weight)
    with torch.no_grad():
        for out, expected in zip(model.backbone(x), plain.backbone(x), strict=True):
            assert torch.equal(out, expected)


def without_scopes_of(node, scope):
    if isinstance(node, dict):
        kept = {k: v for k, v in node.items() if not (k == '_scope_' and v == scope)}
        return {k: without_scopes_of(v, scope) for k, v in kept.items()}
    if isinstance(node, (list, tuple)):
        return [without_scopes_of(value, scope) for value in node]
    return node


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_can_be_inherited_from_the_installed_package(name, tmp_path):
    """MMEngine marks what comes from `mmela::` with a scope that has no datasets."""
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = 'mmela::{name.removeprefix('configs/')}'\n")
    inherited, own = load_config(child), load_config(ROOT / name, work_dir='work_dirs/child')
    toolbox = own.default_scope
    assert without_scopes_of(inherited.to_dict(), toolbox) == without_scopes_of(
        own.to_dict(), toolbox
    )


@pytest.mark.parametrize('metafile', sorted((ROOT / 'configs').glob('*/*/metafile.yml')), ids=str)
def test_metafiles_name_configs_that_exist(metafile):
    models = yaml.safe_load(metafile.read_text())['Models']
    assert models
    for model in models:
        assert (ROOT / model['Config']).is_file(), model['Config']
    named = {model['Config'] for model in models}
    here = {str(p.relative_to(ROOT)) for p in metafile.parent.glob('*.py')}
    assert {name for name in here if '-ela-' in name} <= named


@pytest.mark.parametrize('name', WITH_ELA)
def test_parameter_counts_are_what_the_metafile_says(name):
    metafile = yaml.safe_load((ROOT / name).with_name('metafile.yml').read_text())
    told = next(m['Metadata'] for m in metafile['Models'] if m['Config'] == name)
    with torch.device('meta'):
        model = MODELS.build(load(name).model)
    attention = sum(p.numel() for m in attention_layers(model).values() for p in m.parameters())
    assert attention == told['Attention Parameters']
    assert sum(p.numel() for p in model.parameters()) == told['Parameters']
