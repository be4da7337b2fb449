"""Every config builds the network that its name says, and trains."""

from __future__ import annotations

import math
import re
import shlex
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
from readme_tables import override_rows

from mmela.attentions.base import Attention
from mmela.engine import load_config

ROOT = Path(__file__).parents[1]
#: MMPreTrain is optional; the classifiers need it.
GLOB = '[dsc]*/*/{}' if find_spec('mmpretrain') else '[ds]*/*/{}'
CONFIGS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / 'configs').glob(GLOB.format('*.py')))
READMES = sorted((ROOT / 'configs').glob(GLOB.format('README.md')))
NAME = re.compile(r'-(ela-[tbsl]|se|eca|cbam|coord-att)(-residual|-scaled)?(?=[-_])')

#: The lightest config of each kind, trained for a step in `make test`; `make test-long` has all.
LIGHT = {
    'configs/cls/mobilenet_v2/mobilenet-v2-coord-att_clothing.py',
    'configs/cls/resnet/resnet18-ela-b_clothing.py',
    'configs/det/rtmdet/rtmdet_tiny-ela-b-residual_8xb32-300e_coco.py',
    'configs/det/yolox/yolox_nano-cbam-neck_voc0712.py',
    'configs/det/yolox/yolox_nano-ela-t_shapes.py',
    'configs/seg/deeplabv3/deeplabv3_r18-ela-b_shapes.py',
    'configs/seg/mobilenet_v2/mobilenet-v2-ela-b_deeplabv3_clothes.py',
}
#: Of the long ones, those that CI trains too.
CORE = {
    'configs/det/faster_rcnn/faster-rcnn_r18-ela-b-residual-c3-c5_fpn_1x_coco.py',
    'configs/det/yolof/yolof_r50-c5-ela-t-residual-encoder_8xb8-1x_coco.py',
    'configs/seg/deeplabv3/deeplabv3_r50-d8-ela-s-scaled-c3-c5_4xb4-20k_voc12aug-512x512.py',
}


def marked(names):
    marks = {True: [pytest.mark.long, pytest.mark.core], False: [pytest.mark.long]}
    return [n if n in LIGHT else pytest.param(n, marks=marks[n in CORE]) for n in names]


def without_weights(cfg):
    """Pretrained weights are downloads, or the result of another training."""
    if 'pretrained' in cfg.model:
        cfg.model.pretrained = None
    if 'init_cfg' in cfg.model.backbone:
        cfg.model.backbone.init_cfg = None
    if cfg.default_scope == 'mmpretrain':  # the runner adds it when it builds the model
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    init_default_scope(cfg.default_scope)
    return cfg


def load(name):
    return without_weights(Config.fromfile(ROOT / name))


def build_on_meta(cfg):
    """The network without values, which takes no memory and little time."""
    # MMPreTrain's ResNet reads the values of a tensor when it is built.
    with torch.device('cpu' if cfg.default_scope == 'mmpretrain' else 'meta'):
        return MODELS.build(cfg.model)


def build(cfg):
    if 'rpn' in cfg.model.get('test_cfg', {}):  # a thousand proposals take longer than the network
        cfg.model.train_cfg.rcnn.sampler.num = cfg.model.test_cfg.rpn.max_per_img = 30
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    return model


def attention_layers(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, Attention)}


def num_parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


#: Widths of the maps that the attention receives, by the toolboxes' definitions of the networks.
RESNET_C3_C5 = {
    'r18': [128] * 2 + [256] * 2 + [512] * 2,
    'r50': [128] * 4 + [256] * 6 + [512] * 3,
    'r101': [128] * 4 + [256] * 23 + [512] * 3,
}
RESNET_C2 = {'r18': [64] * 2, 'r50': [64] * 3, 'r101': [64] * 3}
CSP_WIDEN = dict(nano=0.25, tiny=0.375, s=0.5)
MOBILENET_V2 = [96, 144, 144] + [192] * 3 + [384] * 4 + [576] * 3 + [960] * 3


def widths_of(stem):
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


@cache
def metadata(metafile):
    models = yaml.safe_load(metafile.read_text())['Models']
    return {model['Config']: model['Metadata'] for model in models}


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_builds_what_its_name_and_its_metafile_say(name):
    model = build_on_meta(load(name))
    layers = attention_layers(model).values()
    meta = metadata((ROOT / name).with_name('metafile.yml'))[name]
    assert len(layers) == meta['Attention Layers']
    assert num_parameters(*layers) == meta['Attention Parameters']
    assert num_parameters(model) == meta['Parameters']

    stem = Path(name).stem
    named = NAME.search(f'{stem}_')
    assert bool(named) == bool(layers)
    # The demo and the templates have networks and widths of their own.
    if named and re.search(r'_(coco|voc0712|voc12aug-512x512|in1k)$', stem):
        attention, form = named.groups()
        widths = widths_of(stem)
        assert sorted(layer.in_channels for layer in layers) == sorted(widths)
        residual = {None: False, '-residual': True, '-scaled': 'scaled'}[form]
        assert {layer.residual for layer in layers} == {residual}
        expected = sum(parameters_of(attention, c) + c * (form == '-scaled') for c in widths)
        assert num_parameters(*layers) == expected


OVERRIDES = [
    pytest.param(readme, *row, id=f'{row[0]} {row[1]}')
    for readme in READMES
    for row in override_rows(readme)
]


@pytest.mark.parametrize('readme, name, options, layers, parameters', OVERRIDES)
def test_an_override_of_a_readme_gives_the_network_that_it_says(
    readme, name, options, layers, parameters
):
    model = build_on_meta(
        without_weights(load_config(readme.with_name(name), shlex.split(options)))
    )
    found = attention_layers(model).values()
    assert len(found) == int(layers)
    assert f'{num_parameters(model) / 1e6:.3f} M' == parameters
    if variant := re.search(r'variant=([TBSL])', options):
        assert {layer.variant for layer in found} == {variant[1]}


@pytest.mark.parametrize('readme', READMES, ids=lambda readme: readme.parent.name)
def test_a_config_that_a_readme_shows_builds(readme, tmp_path):
    for number, text in enumerate(
        re.findall(r'```python\n(_base_.*?)```', readme.read_text(), re.S)
    ):
        path = tmp_path / f'own_{number}.py'
        path.write_text(text)
        assert attention_layers(build_on_meta(without_weights(load_config(path))))


@pytest.mark.parametrize(
    'folder, pattern',
    [
        ('det/yolox', 'yolox_nano-{}-neck_voc0712.py'),
        ('seg/deeplabv3', 'deeplabv3_r50-d8-{}-residual-c3-c5_4xb4-20k_voc12aug-512x512.py'),
        ('cls/mobilenet_v2', 'mobilenet-v2-{}_8xb32-200e_in1k.py'),
    ],
)
def test_the_baselines_differ_from_ela_in_one_line(folder, pattern):
    own = dict(det='ela-t', seg='ela-s', cls='ela-l')[folder[:3]]
    texts = [
        (ROOT / 'configs' / folder / pattern.format(attention)).read_text().splitlines()
        for attention in ('se', 'eca', 'cbam', 'coord-att', own)
    ]
    assert [len(set(lines)) for lines in zip(*texts, strict=True) if len(set(lines)) > 1] == [5]


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
    # YOLOX's multi-scale training reads the number of the iteration.
    MessageHub.get_current_instance().update_info('iter', 0)
    return model.data_preprocessor(data, training)


@pytest.mark.parametrize('name', marked(CONFIGS))
def test_a_config_takes_a_training_step_and_predicts(name):
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


SCALED = [name for name in CONFIGS if "residual='scaled'" in (ROOT / name).read_text()]


@pytest.mark.parametrize('name', marked(SCALED))
def test_a_scaled_config_starts_as_its_parent_network(name):
    cfg, plain_cfg = load(name), load(name)
    for part in ('backbone', 'neck'):
        if 'plugins' in plain_cfg.model.get(part, {}):
            plain_cfg.model[part].plugins = None
    model, plain = build(cfg).eval(), build(plain_cfg).eval()
    layers = attention_layers(model)
    assert layers and not attention_layers(plain)
    result = plain.load_state_dict(model.state_dict(), strict=False)
    assert result.missing_keys == []
    inside = tuple(f'{layer}.' for layer in layers)
    assert all(key.startswith(inside) for key in result.unexpected_keys)
    for network in (model, plain):  # `zero_init_residual` would hide what a block computes
        for layer_name, module in network.named_modules():
            if re.search(r'\.bn[23]$', layer_name):
                torch.nn.init.ones_(module.weight)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for out, parent in zip(model.extract_feat(x), plain.extract_feat(x), strict=True):
            assert torch.equal(out, parent)


def test_there_is_a_scaled_config_of_a_pretrained_detector_and_segmenter():
    assert {name.split('/')[1] for name in SCALED if '-scaled-' in name} == {'det', 'seg'}


def without_scopes_of(node, scope):
    if isinstance(node, dict):
        kept = {k: v for k, v in node.items() if not (k == '_scope_' and v == scope)}
        return {k: without_scopes_of(v, scope) for k, v in kept.items()}
    if isinstance(node, (list, tuple)):
        return [without_scopes_of(value, scope) for value in node]
    return node


@pytest.mark.parametrize(
    'name',
    [
        'det/yolox/yolox_nano-ela-t_bccd.py',
        'seg/deeplabv3/deeplabv3_r18-ela-b_clothes.py',
        'cls/resnet/resnet18-ela-b_clothing.py',
    ],
)
def test_a_config_can_be_inherited_from_the_installed_package(name, tmp_path):
    """MMEngine marks what comes from `mmela::` with a scope that has no datasets."""
    if f'configs/{name}' not in CONFIGS:
        pytest.skip('MMPreTrain is not installed')
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = 'mmela::{name}'\n")
    own = load_config(ROOT / 'configs' / name, work_dir='work_dirs/child')
    toolbox = own.default_scope
    assert without_scopes_of(load_config(child).to_dict(), toolbox) == without_scopes_of(
        own.to_dict(), toolbox
    )
