"""Parameters and FLOPs: against the formulas written out, MMEngine's own count and papers."""

import json
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from torch import nn

from mmela.analysis.complexity import measure
from mmela.analysis.complexity_table import uncounted_notes
from mmela.analysis.flop_count import count
from mmela.analysis.input_shape import input_shape
from mmela.engine import UserError, load_config

YOLOX = 'mmdet::yolox/yolox_nano_8xb8-300e_coco.py'
RTMDET = 'mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py'
FASTER_RCNN = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
SEGMENTER = 'mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3plus_4xb4-160k_ade20k-512x512.py'
#: Kernel size, channels a convolution group, and parameters a channel (paper, section 3.4).
VARIANTS = {'T': (5, 1, 7), 'B': (7, 1, 9), 'S': (5, 8, 42), 'L': (7, 8, 58)}


@contextmanager
def registered(layer_type):
    MODELS.register_module(module=layer_type)
    try:
        yield
    finally:
        MODELS.module_dict.pop(layer_type.__name__)


def yolox_with(*plugins, **arguments):
    """YOLOX-Nano with layers behind its stages: 64, 128 and 256 channels at strides 8, 16, 32."""
    cfg = load_config(YOLOX)
    cfg.model.backbone.type = 'mmela.CSPDarknet'
    cfg.model.backbone.plugins = [
        dict(cfg=plugin, position='after_stage', stages=(False, True, True, True))
        for plugin in plugins
    ]
    return cfg


def count_by_mmengine(cfg, shape, **forward_arguments):
    """What the toolboxes' own tools do; its pass through the network is a real one."""
    with MODELS.switch_scope_and_registry(cfg.default_scope) as registry:
        model = revert_sync_batchnorm(registry.build(cfg.model)).eval()
        model.forward = partial(model.forward, **forward_arguments)
        inputs = (torch.rand(1, 3, *shape),)
        return get_model_complexity_info(
            model, inputs=inputs, show_table=False, show_arch=False
        ), model


# Against the formula.


@pytest.mark.parametrize(
    ('variant', 'residual'),
    [('T', False), ('B', True), ('S', 'scaled'), ('L', False)],
)
def test_ela_costs_its_formula_in_a_detector(variant, residual):
    kernel_size, per_group, per_channel = VARIANTS[variant]
    params = flops = elementwise = 0
    for channels, stride in ((64, 8), (128, 16), (256, 32)):
        height, width = 64 // stride, 96 // stride
        plane, strips = channels * height * width, channels * (height + width)
        params += per_channel * channels + (channels if residual == 'scaled' else 0)
        flops += 2 * plane  # the two means read the map once each
        flops += per_group * kernel_size * strips  # convolution
        flops += 5 * strips  # MMEngine's estimate of a GroupNorm with weight and bias
        elementwise += strips + 2 * plane  # sigmoid, two products
        elementwise += plane if residual else 0
        elementwise += channels * height if residual == 'scaled' else 0  # scale times y_h
    cfg = yolox_with(dict(type='mmela.ELA', variant=variant, residual=residual))
    result = measure(cfg, (64, 96))
    assert result.attention_params == params
    assert result.attention_flops == flops
    assert result.attention_elementwise == elementwise
    assert (result.attention_layers, result.attention_places) == (3, 3)
    assert result.uncounted == {}


def test_ela_costs_its_formula_in_a_two_stage_detector():
    """The number of proposals must not differ by chance: one of them costs more than all layers."""
    cfg = load_config(FASTER_RCNN)
    cfg.model.backbone.plugins = [
        dict(
            cfg=dict(type='mmela.ELA', variant='S'),
            position='after_conv2',
            stages=(False, True, True, True),
        )
    ]
    flops = 0
    for channels, blocks, height, width in ((128, 4, 8, 12), (256, 6, 4, 6), (512, 3, 2, 3)):
        strips = channels * (height + width)
        flops += blocks * (2 * channels * height * width + 8 * 5 * strips + 5 * strips)
    result = measure(cfg, (64, 96))
    assert result.attention_flops == flops
    assert result.attention_params == 42 * (4 * 128 + 6 * 256 + 3 * 512)
    assert result.attention_layers == 13


def test_a_layer_that_is_shared_is_one_layer_and_costs_at_each_of_its_places():
    cfg = load_config(YOLOX)
    cfg.model.neck.type = 'mmela.YOLOXPAFPN'
    cfg.model.neck.plugins = [
        dict(
            cfg=dict(type='mmela.ELA', variant='T'),
            position=('inputs', 'after_concat'),
            share=True,
        )
    ]
    # Three inputs; behind the concatenations: 256 and 128 channels on the way up, 128 and 256 down.
    places = [(64, 8), (128, 16), (256, 32), (256, 16), (128, 8), (128, 16), (256, 32)]
    flops = 0
    for channels, stride in places:
        height, width = 64 // stride, 96 // stride
        flops += 2 * channels * height * width + (5 + 5) * channels * (height + width)
    result = measure(cfg, (64, 96))
    assert (result.attention_layers, result.attention_places) == (3, 7)
    assert result.attention_params == 7 * (64 + 128 + 256)
    assert result.attention_flops == flops


class Mean(nn.Module):
    def __init__(self, in_channels):
        super().__init__()

    def forward(self, x):
        return x * x.mean((2, 3), keepdim=True)


class Pool(Mean):
    def forward(self, x):
        return x * nn.functional.adaptive_avg_pool2d(x, 1)


class Maximum(Mean):
    def forward(self, x):
        return x * x.amax((2, 3), keepdim=True)


class Cumulative(Mean):
    def forward(self, x):
        return x.cumsum(3)


@pytest.mark.parametrize('layer_type', [Mean, Pool, Maximum])
def test_pooling_costs_the_same_through_whichever_operator(layer_type):
    result = count(layer_type(4), torch.zeros(1, 4, 6, 8))
    assert (result.flops + result.pooling, result.elementwise) == (4 * 6 * 8, 4 * 6 * 8)


def test_an_operator_that_is_not_counted_is_reported():
    with registered(Cumulative):
        result = measure(yolox_with(dict(type='Cumulative')), (64, 96))
    assert result.uncounted == {'aten::cumsum': 3}
    (note,) = uncounted_notes({'a.py': result})
    assert 'aten::cumsum (3x)' in note


# Against MMEngine's own count.


@pytest.mark.parametrize('name', [YOLOX, SEGMENTER])
def test_the_baseline_is_what_mmengine_counts(name):
    expected, _ = count_by_mmengine(load_config(name), (64, 96))
    result = measure(load_config(name), (64, 96))
    assert result.baseline_flops == expected['flops']
    assert result.baseline_params == result.params == expected['params']


def test_the_baseline_of_a_two_stage_detector_is_what_mmengine_counts():
    """Where the real RPN finds as many proposals as the test keeps at most."""
    from mmdet.structures import DetDataSample

    cfg = load_config(FASTER_RCNN, {'model.test_cfg.rpn.max_per_img': 30})
    shape = (64, 96)
    sample = DetDataSample(metainfo=dict(img_shape=shape, scale_factor=(1.0, 1.0)))
    real = load_config(FASTER_RCNN, {'model.test_cfg.rpn.max_per_img': 30})
    expected, model = count_by_mmengine(real, shape, data_samples=[sample])
    with torch.no_grad():
        ((class_scores, _),) = model(torch.rand(1, 3, *shape))
    assert class_scores.size(0) == 30
    assert measure(cfg, shape).baseline_flops == expected['flops']


def test_the_baseline_is_the_same_network_without_its_plugins():
    cfg = yolox_with(dict(type='mmela.ELA'))
    before = cfg.to_dict()
    with_attention = measure(cfg, (64, 96))
    plain = measure(load_config(YOLOX), (64, 96))
    assert with_attention.baseline_flops == plain.flops
    assert with_attention.baseline_params == plain.params
    assert with_attention.flops == plain.flops + with_attention.attention_flops > plain.flops
    assert cfg.to_dict() == before  # counting leaves a config as it was


# Against what was published. YOLOX: README of Megvii-BaseDetection/YOLOX, which counts a
# multiply-add twice. RTMDet: README of configs/rtmdet in MMDetection. DeepLabV3+: SegFormer (arXiv
# 2105.15203), by MMSegmentation's counter. Faster R-CNN: ECA-Net (arXiv 1910.03151), by an older
# counter of MMDetection that adds biases and activations.
LONG = (pytest.mark.long, pytest.mark.core)
PUBLISHED = {
    YOLOX: (0.91, 1.08 / 2),
    RTMDET: (8.89, 14.8),
    SEGMENTER: (15.4, 69.4),
    FASTER_RCNN: (None, 207.07),
}


@pytest.mark.parametrize(
    'name', [YOLOX, *(pytest.param(name, marks=LONG) for name in (RTMDET, SEGMENTER, FASTER_RCNN))]
)
def test_published_figures_are_met_at_the_size_that_the_config_tests_at(name):
    params, flops = PUBLISHED[name]
    result = measure(load_config(name))
    assert result.flops / 1e9 == pytest.approx(flops, rel=0.005)
    if params is not None:
        assert result.params / 1e6 == pytest.approx(params, rel=0.005)


@pytest.mark.long
@pytest.mark.core
def test_an_attention_adds_what_its_authors_publish():
    """ECA-Net: 207.07 G without, 207.18 G with ECA at the end of every block: its pooling."""
    cfg = load_config(FASTER_RCNN)
    cfg.model.backbone.plugins = [dict(cfg=dict(type='mmela.ECA'), position='after_conv3')]
    result = measure(cfg)
    assert result.attention_layers == 16
    assert result.attention_flops / 1e9 == pytest.approx(207.18 - 207.07, abs=0.005)


# The size of the input.


@pytest.mark.parametrize(
    ('name', 'shape'),
    {
        YOLOX: (416, 416),
        RTMDET: (640, 640),
        FASTER_RCNN: (800, 1280),
        'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py': (608, 1024),  # 600 x 1000, padded
        SEGMENTER: (512, 512),
    }.items(),
)
def test_a_config_is_counted_at_the_size_that_it_tests_at(name, shape):
    assert input_shape(load_config(name)) == shape


def classifier_config(*steps):
    return Config(
        dict(default_scope='mmpretrain', model=dict(type='ImageClassifier'), test_pipeline=steps)
    )


def test_a_classifier_is_counted_at_its_crop():
    steps = (
        dict(type='ResizeEdge', scale=256, edge='short'),
        dict(type='CenterCrop', crop_size=224),
    )
    assert input_shape(classifier_config(*steps)) == (224, 224)


def test_a_config_without_a_size_asks_for_one():
    with pytest.raises(UserError, match='--shape H W'):
        input_shape(classifier_config(dict(type='PackInputs')))


def test_a_size_that_the_network_cannot_take_is_refused():
    with pytest.raises(UserError, match='100 x 100'):
        measure(load_config(YOLOX), (100, 100))


# The command.


@pytest.fixture
def get_flops(tool):
    def run(*arguments):
        status, err = tool('analysis_tools/get_flops.py', *arguments)
        return status, tool.stdout, err

    return run


def test_the_command_prints_attention_below_its_baseline(get_flops, tiny_det, tiny_seg):
    status, out, _ = get_flops(tiny_det, tiny_seg)
    head, base_det, row_det, base_seg, row_seg = out.splitlines()[:5]
    assert status == 0
    assert head.split()[:4] == ['config', 'attention', 'layers', 'input']
    assert base_det.split()[:5] == ['without', 'attention', 'none', '0', '64x64']
    # 7 C of ELA-T and C of its scale, C = 64, 128 and 256.
    assert row_det.split()[0] == 'tiny_det' and ' 3,584 ' in row_det
    # 9 C of ELA-B behind two blocks each of 16, 32 and 64 channels.
    assert row_seg.split()[:4] == ['tiny_seg', 'ELA-B', '6', '64x64'] and ' 2,016 ' in row_seg
    assert 'multiply-adds' in out


def test_a_config_without_attention_is_a_row_by_itself(get_flops, tiny_seg):
    status, out, _ = get_flops(tiny_seg, '--cfg-options', 'model.backbone.plugins=None')
    assert status == 0
    assert out.splitlines()[1].split()[:4] == ['tiny_seg', 'none', '0', '64x64']


def test_json_and_markdown_have_the_figures_and_nothing_else_is_printed(get_flops, tiny_seg):
    status, out, _ = get_flops(tiny_seg, '--format', 'json', '--shape', '32', '64')
    (row,) = json.loads(out)
    assert status == 0
    assert row['config'] == tiny_seg and row['shape'] == [32, 64]
    assert (row['attention'], row['attention_layers']) == ('ELA-B', 6)
    assert row['attention_params'] == 9 * 2 * (16 + 32 + 64)
    assert row['params'] == row['baseline_params'] + row['attention_params']
    assert row['flops'] == row['baseline_flops'] + row['attention_flops']

    status, out, _ = get_flops(tiny_seg, '--format', 'markdown', '--shape', '32', '64')
    head, rule, baseline, line = out.splitlines()
    assert status == 0
    assert {text.count('|') for text in (head, rule, baseline, line)} == {12}
    assert baseline.startswith('| without attention | none |')
    assert line.startswith('| [tiny_seg.py](tiny_seg.py) | ELA-B | 6 | 32x64 |')
    assert f'{row["attention_params"]:,}' in line


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['nope.py'], 'there is no config file nope.py'),
        (['{seg}', '--shape', '1', '2', '3'], 'HEIGHT WIDTH'),
        (['{seg}', '--shape', '0'], 'HEIGHT WIDTH'),
        (['{seg}', '--cfg-options', 'model.backbone.plugins.0.cfg.variant=X'], 'T, B, S, L'),
        (['{seg}', '--cfg-options', 'model.decode_head.type=FCNHeat'], "did you mean 'FCNHead'?"),
    ],
    ids=['no config', 'three sides', 'no side', 'variant', 'type'],
)
def test_a_user_error_is_a_message_and_status_2(words, message, get_flops, tiny_seg):
    status, out, err = get_flops(*(word.format(seg=tiny_seg) for word in words))
    assert (status, out) == (2, '')
    assert message in err and 'Traceback' not in err
