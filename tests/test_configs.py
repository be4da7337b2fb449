"""Every config that ships: it builds, holds what its name and its README say, and trains."""

from __future__ import annotations

import math
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from readme_tables import table_rows

from mmela.attentions.base import Attention
from mmela.engine import load_config

ROOT = Path(__file__).parents[1]
#: MMPreTrain is optional: without it there is nothing to build the classifiers with.
GLOB = '[dsc]*/*/*.py' if find_spec('mmpretrain') else '[ds]*/*/*.py'
CONFIGS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / 'configs').glob(GLOB))
METAFILES = sorted({str(Path(name).with_name('metafile.yml')) for name in CONFIGS})
METADATA = {
    model['Config']: model['Metadata']
    for metafile in METAFILES
    for model in yaml.safe_load((ROOT / metafile).read_text())['Models']
}
NAME = re.compile(r'-(ela-[tbsl]|se|eca|cbam|coord-att)(-residual|-scaled)?(?=[-_])')
#: What makes another network or training of the same method and attention.
PLACE = re.compile(
    r'-ela-code|-neck|_shapes|_bccd|_clothes|_clothing|voc0712|-in1k|-200e|-mbv3|-rsb'
)
ATTENDED = [name for name in CONFIGS if NAME.search(Path(name).name)]


def attention_of(name):
    """What the name of a config says: its attention and its `residual`."""
    attention, residual = NAME.search(Path(name).name).groups()
    return attention, {None: False, '-residual': True, '-scaled': 'scaled'}[residual]


def shown_by(name):
    """What the tests of a config show: of its toolbox, and of its method."""
    _, toolbox, method, _ = Path(name).parts
    attention, form = attention_of(name) if name in ATTENDED else (None, None)
    place = PLACE.search(name)
    return {
        (toolbox, attention),
        (toolbox, form),
        (toolbox, method, place and place[0], attention is None),
    }


def showing_something_new(names):
    """The configs of a short run: the lightest first, each shows what none before it did."""
    shown, chosen = set(), set()
    for name in sorted(names, key=lambda name: METADATA.get(name, {}).get('Parameters', 0)):
        if not shown_by(name) <= shown:
            shown |= shown_by(name)
            chosen.add(name)
    return chosen


FAST = showing_something_new(CONFIGS)


def load(name):
    cfg = Config.fromfile(ROOT / name)
    init_default_scope(cfg.default_scope)
    # Pretrained weights are downloads, or made by training.
    if 'pretrained' in cfg.model:
        cfg.model.pretrained = None
    if 'init_cfg' in cfg.model.backbone:
        cfg.model.backbone.init_cfg = None
    if cfg.default_scope == 'mmpretrain':  # the runner does it where it builds the model
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return cfg


@cache
def meta_model(name):
    """The network without its values, which is quick and takes no memory."""
    cfg = load(name)
    # MMPreTrain's ResNet reads values of a tensor while it is built.
    with torch.device('cpu' if cfg.default_scope == 'mmpretrain' else 'meta'):
        return MODELS.build(cfg.model).to('meta')


def build(cfg):
    if 'rpn' in cfg.model.get('test_cfg', {}):  # a thousand proposals take longer than the network
        cfg.model.train_cfg.rcnn.sampler.num = cfg.model.test_cfg.rpn.max_per_img = 30
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    return model


def make_batch(cfg, model, training):
    """Two random images with boxes, with a random label map, or with a class each."""
    if cfg.default_scope == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        head = getattr(model, 'bbox_head', None) or model.roi_head.bbox_head
        data = demo_mm_inputs(2, [[3, 96, 96]] * 2, num_classes=head.num_classes)
    elif cfg.default_scope == 'mmpretrain':
        from mmpretrain.structures import DataSample

        images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in range(2)]
        data = dict(inputs=images, data_samples=[DataSample().set_gt_label(i) for i in range(2)])
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
    return {n: m for n, m in model.named_modules() if isinstance(m, Attention)}


def mark_long(names):
    return [n if n in FAST else pytest.param(n, marks=pytest.mark.long) for n in names]


@pytest.mark.parametrize('name', mark_long(CONFIGS))
def test_a_config_runs_forward_and_takes_a_step_of_its_loss(name):
    cfg = load(name)
    model = build(cfg).train()
    losses = model(**make_batch(cfg, model, training=True), mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert torch.isfinite(loss)
    for layer_name, layer in attention_layers(model).items():
        for parameter in (p for p in layer.parameters() if p.requires_grad):  # not frozen
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), layer_name
    with torch.no_grad():
        results = model.eval()(**make_batch(cfg, model, training=False), mode='predict')
    assert len(results) == 2


#: Widths of the maps that the attention is given, by the toolboxes' definitions of the networks.
RESNET_C3_C5 = {
    'r18': [128] * 2 + [256] * 2 + [512] * 2,
    'r50': [128] * 4 + [256] * 6 + [512] * 3,
    'r101': [128] * 4 + [256] * 23 + [512] * 3,
}
RESNET_C2 = {'r18': [64] * 2, 'r50': [64] * 3, 'r101': [64] * 3}
CSP_WIDEN = dict(nano=0.25, tiny=0.375, s=0.5, m=0.75, l=1, x=1.25)
MOBILENET_V2 = [96, 144, 144] + [192] * 3 + [384] * 4 + [576] * 3 + [960] * 3


def widths_of(name):
    stem = Path(name).stem
    if stem.startswith('mobilenet-v2'):
        return MOBILENET_V2
    if '-neck_' in stem:
        return [64, 128, 256]  # shared by the seven places of YOLOX-Nano's neck
    if stem.startswith('yolof'):
        return [2048] + [512] * 4  # C5, the projected map, and around three blocks
    if stem.startswith(('yolox', 'rtmdet')):
        widen = CSP_WIDEN[re.match(r'[a-z]+_([a-z]+)-', stem)[1]]
        return [int(width * widen) for width in (256, 512, 1024)]
    depth = 'r' + re.search(r'(?:_r|^resnet)(\d+)', stem)[1]
    later = RESNET_C3_C5[depth]
    return later if '-c3-c5_' in stem else RESNET_C2[depth] + later


def parameters_of(attention, channels):
    """Parameters of one layer, from the papers' definitions."""
    if attention.startswith('ela'):
        return {'t': 7, 'b': 9, 's': 42, 'l': 58}[attention[-1]] * channels
    if attention == 'eca':
        kernel_size = int(abs((math.log2(channels) + 1) / 2))
        return kernel_size + 1 if kernel_size % 2 == 0 else kernel_size
    hidden = max(8, channels // 32) if attention == 'coord-att' else channels // 16
    squeeze = channels * hidden + hidden
    excite = hidden * channels + channels
    return {
        'se': squeeze + excite,
        'cbam': squeeze + excite + 2 * 7 * 7 + 2,  # and the spatial convolution with its norm
        'coord-att': squeeze + 2 * hidden + 2 * excite,  # a norm, and one excitation an axis
    }[attention]


OF_THE_ZOO = [n for n in ATTENDED if re.search(r'_(coco|voc0712|voc12aug-512x512|in1k)\.py$', n)]


# Module scope has pytest run both tests of a config one after the other, with one `meta_model`.
@pytest.mark.parametrize('name', OF_THE_ZOO, scope='module')
def test_a_config_holds_the_attention_that_its_name_says(name):
    attention, residual = attention_of(name)
    layers = attention_layers(meta_model(name)).values()
    widths = widths_of(name)
    assert sorted(layer.in_channels for layer in layers) == sorted(widths)
    assert {layer.residual for layer in layers} == {residual}
    expected = sum(parameters_of(attention, c) + c * (residual == 'scaled') for c in widths)
    assert sum(p.numel() for layer in layers for p in layer.parameters()) == expected


@pytest.mark.parametrize('name', ATTENDED, scope='module')
def test_attention_and_parameter_total_are_what_the_metafile_says(name):
    told, model = METADATA[name], meta_model(name)
    layers = attention_layers(model).values()
    assert len(layers) == told['Attention Layers']
    attention = sum(p.numel() for layer in layers for p in layer.parameters())
    assert attention == told['Attention Parameters']
    assert sum(p.numel() for p in model.parameters()) == told['Parameters']


FAMILIES = [
    ('det/yolox', 'yolox_nano-{}-neck_voc0712.py', ['']),
    (
        'det/faster_rcnn',
        'faster-rcnn_r50-{}-c3-c5_fpn_1x_coco.py',
        ['', '-residual', '-scaled'],
    ),
    (
        'seg/deeplabv3',
        'deeplabv3_r50-d8-{}-c3-c5_4xb4-20k_voc12aug-512x512.py',
        ['', '-residual', '-scaled'],
    ),
    *[('cls/resnet', f'resnet{depth}-{{}}_8xb32_in1k.py', ['']) for depth in (18, 50, 101)],
    *[
        ('cls/mobilenet_v2', f'mobilenet-v2-{{}}_{recipe}_in1k.py', [''])
        for recipe in ('8xb32', '8xb32-200e', '8xb128-mbv3')
    ],
]


@pytest.mark.parametrize('folder, pattern, forms', FAMILIES, ids=[f[1] for f in FAMILIES])
def test_the_rivals_differ_from_one_another_in_one_line(folder, pattern, forms):
    attentions = ['se', 'eca', 'cbam', 'coord-att', 'ela-t', 'ela-b', 'ela-s', 'ela-l']
    names = [pattern.format(attention + form) for attention in attentions for form in forms]
    texts = [(ROOT / 'configs' / folder / name).read_text().splitlines() for name in names]
    assert len({len(lines) for lines in texts}) == 1
    assert sum(len(set(lines)) > 1 for lines in zip(*texts, strict=True)) == 1
    assert len({tuple(lines) for lines in texts}) == len(names)


@pytest.mark.parametrize('name', mark_long([n for n in ATTENDED if attention_of(n)[1] == 'scaled']))
def test_a_scaled_config_starts_as_its_parent_network(name):
    cfg = load(name)
    model = build(cfg).eval()
    plain_cfg = load(name)
    for part in ('backbone', 'neck'):
        if 'plugins' in plain_cfg.model.get(part, {}):
            plain_cfg.model[part].plugins = None
    plain = build(plain_cfg).eval()
    layers = attention_layers(model)
    assert layers and not attention_layers(plain)
    result = plain.load_state_dict(model.state_dict(), strict=False)
    assert result.missing_keys == []
    inside = tuple(f'{layer}.' for layer in layers)
    assert all(key.startswith(inside) for key in result.unexpected_keys)
    x = torch.randn(1, 3, 64, 64)
    for network in (model, plain):  # `zero_init_residual` would hide what a block computes
        for layer_name, module in network.named_modules():
            if re.search(r'\.bn[23]$', layer_name):
                torch.nn.init.ones_(module.weight)
    with torch.no_grad():
        outs, expected = ([n.extract_feat(x)] for n in (model, plain))
        for out, parent in zip(outs[0], expected[0], strict=True):
            assert torch.equal(out, parent)


def without_scopes_of(node, scope):
    if isinstance(node, dict):
        kept = {k: v for k, v in node.items() if not (k == '_scope_' and v == scope)}
        return {k: without_scopes_of(v, scope) for k, v in kept.items()}
    if isinstance(node, (list, tuple)):
        return [without_scopes_of(value, scope) for value in node]
    return node


@pytest.mark.parametrize('name', mark_long(CONFIGS))
def test_a_config_can_be_inherited_from_the_installed_package(name, tmp_path):
    """MMEngine marks what comes from `mmela::` with a scope that has no datasets."""
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = 'mmela::{name.removeprefix('configs/')}'\n")
    inherited, own = load_config(child), load_config(ROOT / name, work_dir='work_dirs/child')
    toolbox = own.default_scope
    assert without_scopes_of(inherited.to_dict(), toolbox) == without_scopes_of(
        own.to_dict(), toolbox
    )


@pytest.mark.parametrize('metafile', METAFILES)
def test_a_metafile_names_every_config_with_attention_and_none_that_is_not_there(metafile):
    models = yaml.safe_load((ROOT / metafile).read_text())['Models']
    named = [model['Config'] for model in models]
    here = {name for name in ATTENDED if Path(name).parent == Path(metafile).parent}
    assert here <= set(named) <= set(CONFIGS) and len(named) == len(set(named))


def folders():
    return sorted({str(Path(name).parent) for name in CONFIGS})


@pytest.mark.parametrize('folder', folders())
def test_the_readme_lists_every_config_with_the_figures_of_the_metafile(folder):
    readme = (ROOT / folder / 'README.md').read_text()
    metafile = yaml.safe_load((ROOT / folder / 'metafile.yml').read_text())
    told = {Path(m['Config']).name: m['Metadata'] for m in metafile['Models']}
    listed = set(re.findall(r'\(([\w.-]+\.py)\)', readme))
    for row in table_rows(readme):
        linked = re.findall(r'\(([\w.-]+\.py)\)', ' '.join(row.values()))
        for config in linked if 'parameters' in row else []:
            meta = told[config]
            scaled = '-scaled' in config and len(linked) > 1
            added = row['added'].partition(' / ')[2 if scaled else 0]
            assert added.replace(',', '') == str(meta['Attention Parameters']), config
            total = meta['Parameters']
            assert row['layers'] == str(meta['Attention Layers']), config
            millions = row['parameters'].partition(' / ')[2 if scaled else 0]
            assert millions.removesuffix(' M') == f'{total / 1e6:.3f}', config
            if 'FLOPs' in meta:
                assert row['FLOPs'].removesuffix(' G') == f'{meta["FLOPs"] / 1e9:.3f}', config
    here = {Path(name).name for name in ATTENDED if str(Path(name).parent) == folder}
    assert here <= listed
