"""``mmela.WithPlugins``: a layer behind any module of any network, held against the network."""

import copy
import pickle

import pytest
import torch
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmela import ELA
from mmela.engine.runner import disconnect_at_end
from mmela.errors import ConfigError

FPN = ('mmdet.FPN', dict(in_channels=[8, 16, 32], out_channels=16, num_outs=4))
PAFPN = ('mmdet.PAFPN', dict(in_channels=[8, 16, 32], out_channels=16, num_outs=3))
CSPNEXT_PAFPN = (
    'mmdet.CSPNeXtPAFPN',
    dict(in_channels=[8, 16, 32], out_channels=16, num_csp_blocks=1),
)
_BRANCHES = {
    f'stage{n}': dict(
        num_modules=1,
        num_branches=n,
        block='BASIC' if n > 1 else 'BOTTLENECK',
        num_blocks=(1,) * n,
        num_channels=(8, 16, 32, 64)[:n],
    )
    for n in (1, 2, 3, 4)
}
HRNET = ('mmdet.HRNet', dict(extra=_BRANCHES))
EFFICIENTNET = ('mmdet.EfficientNet', dict(arch='b0', out_indices=(3, 4, 5)))
RESNEXT = ('mmdet.ResNeXt', dict(depth=50, groups=32, base_width=4))
SWIN = ('mmdet.SwinTransformer', dict(embed_dims=12, depths=(1,) * 4, num_heads=(1, 2, 3, 4)))
PVT = ('mmdet.PyramidVisionTransformer', dict(embed_dims=16, num_layers=[1, 1, 1, 1]))
DARKNET = ('mmdet.Darknet', dict(depth=53))
UNET = ('mmseg.UNet', dict(base_channels=8, norm_cfg=dict(type='BN')))
CONVNEXT = (
    'mmpretrain.ConvNeXt',
    dict(arch=dict(depths=[1] * 4, channels=[8, 16, 24, 32]), out_indices=(0, 1, 2, 3)),
)
CONVNEXT_MAPS = (CONVNEXT[0], dict(**CONVNEXT[1], gap_before_final_norm=False))
CLS_SWIN = (
    'mmpretrain.SwinTransformer',
    dict(arch=dict(embed_dims=12, depths=[1] * 4, num_heads=[1, 2, 3, 4])),
)
DDRNET = ('mmseg.DDRNet', dict(channels=8, ppm_channels=16, norm_cfg=dict(type='BN')))
PIDNET = ('mmseg.PIDNet', dict(channels=8, ppm_channels=16, norm_cfg=dict(type='BN')))
RESNET18 = ('mmdet.ResNet', dict(depth=18))
MOBILENETV3 = ('mmpretrain.MobileNetV3', dict(arch='small'))

#: The network, a position, and the number of layers there.
PLACES = [
    (FPN, 'fpn_convs.*', 3),
    (FPN, 'outputs', 4),
    (PAFPN, 'pafpn_convs.*', 2),
    (CSPNEXT_PAFPN, 'out_convs.*', 3),
    (HRNET, 'outputs', 4),
    (HRNET, 'stage4.0.branches.*', 4),
    (EFFICIENTNET, 'layers.[2-5]', 4),
    (RESNEXT, 'layer[2-4]', 3),
    (RESNEXT, 'after_conv3', 16),  # its own position
    (SWIN, 'outputs', 4),
    (PVT, 'outputs', 4),
    (RESNET18, 'outputs', 4),
    (DARKNET, 'conv_res_block[3-5]', 3),
    (UNET, 'decoder.*', 4),
    (CONVNEXT, 'stages.*', 4),
    (CONVNEXT_MAPS, 'outputs', 4),
    (MOBILENETV3, 'layer[1-9]', 9),
]


def build(network, plugins=None, **cfg):
    name, arguments = network
    pytest.importorskip(name.split('.')[0])
    init_default_scope(name.split('.')[0])
    torch.manual_seed(0)
    arguments = copy.deepcopy({**arguments, **cfg})
    if plugins is None:
        return MODELS.build(dict(type=name, **arguments))
    return MODELS.build(dict(type='mmela.WithPlugins', network=name, plugins=plugins, **arguments))


def ela(position, **cfg):
    return [dict(cfg=dict(type='mmela.ELA', **{'residual': 'scaled', **cfg}), position=position)]


def inputs(network):
    torch.manual_seed(1)
    widths = network[1].get('in_channels')
    if widths is None:
        return torch.randn(2, 3, 64, 64)
    return tuple(torch.randn(2, c, 64 // 2**i, 64 // 2**i) for i, c in enumerate(widths))


def as_list(out):
    return [out] if isinstance(out, torch.Tensor) else list(out)


def assert_equal(outs, others):
    outs, others = as_list(outs), as_list(others)
    assert len(outs) == len(others)
    for out, other in zip(outs, others, strict=True):
        assert torch.equal(out, other)


def layers_of(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, ELA)}


@pytest.mark.parametrize(
    'network, position, count', PLACES, ids=[f'{n[0]}-{p}' for n, p, _ in PLACES]
)
def test_it_is_the_network_at_first_and_every_layer_trains(network, position, count):
    plain = build(network)
    model = build(network, ela(position))
    layers = layers_of(model)
    assert isinstance(model, type(plain)) and len(layers) == count

    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert missing == [
        k for k in model.state_dict() if k.startswith(tuple(f'{n}.' for n in layers))
    ]

    x = inputs(network)
    plain.eval()  # returns None in some networks
    with torch.no_grad():
        assert_equal(model.eval()(x), plain(x))

    model.train()
    before = {name: layer.scale.clone() for name, layer in layers.items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    sum(out.square().mean() for out in as_list(model(x))).backward()
    optimizer.step()
    for name, layer in layers.items():
        assert not torch.equal(layer.scale, before[name]), name


def test_an_output_is_the_layer_applied_to_the_networks_own():
    plain, model = build(FPN), build(FPN, ela('outputs', residual=False))
    model.load_state_dict(plain.state_dict(), strict=False)
    x = inputs(FPN)
    expected = [layer(out) for layer, out in zip(layers_of(model).values(), plain(x), strict=True)]
    assert_equal(model(x), expected)


def test_a_layer_follows_its_module_once_in_a_sequential_too():
    """A child of an ``nn.Sequential`` runs without a hook."""
    model = build(RESNEXT, ela('layer1', residual=False))
    seen = []
    model.layer1.ela.register_forward_hook(lambda layer, args, out: seen.append((args[0], out)))
    model.layer1.register_forward_hook(lambda layer, args, out: seen.append(out))
    model(inputs(RESNEXT))
    (before, after), out = seen
    assert torch.equal(out, after) and torch.equal(after, model.layer1.ela(before))


def test_stages_choose_among_the_places():
    some = [dict(ela('outputs')[0], stages=(False, True, False, True))]
    assert list(layers_of(build(FPN, some))) == ['ela_out1', 'ela_out3']
    some = [dict(ela('fpn_convs.*')[0], stages=(True, False, False))]
    assert list(layers_of(build(FPN, some))) == ['fpn_convs.0.ela']


def test_a_star_stays_between_two_dots():
    assert list(layers_of(build(FPN, ela('lateral_convs.*')))) == [
        f'lateral_convs.{i}.ela' for i in range(3)
    ]


def test_without_plugins_it_is_the_network():
    plain, model = build(FPN), build(FPN, [])
    assert list(model.state_dict()) == list(plain.state_dict())
    torch.manual_seed(3)
    plain.init_weights()
    torch.manual_seed(3)
    model.init_weights()
    assert_equal(model(inputs(FPN)), plain(inputs(FPN)))


def test_looking_for_widths_leaves_random_numbers_and_statistics_alone():
    torch.manual_seed(0)
    build(UNET)
    expected = torch.rand(3)
    model = build(UNET, [])
    assert torch.equal(torch.rand(3), expected)
    norms = [m for m in build(UNET, ela('decoder.*')).modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.num_batches_tracked == 0 for norm in norms) and model.training


@pytest.mark.parametrize('duplicate', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize('position', ['fpn_convs.*', 'outputs'])
def test_copies_run_their_own_layers(duplicate, position):
    model = build(FPN, ela(position))
    x = inputs(FPN)
    copied = duplicate(model)
    assert type(copied) is type(model)
    for layer in layers_of(copied).values():
        nn.init.ones_(layer.scale)
    assert_equal(model(x), build(FPN)(x))
    assert not torch.equal(copied(x)[0], model(x)[0])


def test_an_average_of_weights_follows_the_layers():
    model = build(FPN, ela('fpn_convs.*'))
    average = ExponentialMovingAverage(model, momentum=0.5)
    for layer in layers_of(model).values():
        nn.init.ones_(layer.scale)
    average.update_parameters(model)  # the first update takes the weights over
    assert_equal(average(inputs(FPN)), model(inputs(FPN)))


def test_an_inheriting_config_keeps_the_keys_of_its_base(tmp_path):
    config = tmp_path / 'my_config.py'
    config.write_text(
        "_base_ = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'\n"
        "model = dict(neck=dict(type='mmela.WithPlugins', network='FPN', plugins=[\n"
        "    dict(cfg=dict(type='mmela.ELA', residual='scaled'), position='fpn_convs.*')]))\n"
    )
    cfg = Config.fromfile(config)
    init_default_scope('mmdet')
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    assert model.neck.num_outs == 5
    assert list(layers_of(model)) == [f'neck.fpn_convs.{i}.ela' for i in range(5)]


@pytest.mark.parametrize(
    'network, position, said',
    [
        (FPN, 'fpn_convs', ["'fpn_convs.*'"]),  # a ModuleList never runs
        (FPN, 'fpn_conv.*', ['outputs', 'fpn_convs']),
        (FPN, 'fpn_convs.*.conv', ['fpn_convs.0.conv', 'Conv2d', "'fpn_convs.0'"]),
        (SWIN, 'stages.*', ['(N, C, H, W)', 'outputs']),  # tokens and their size
        (CONVNEXT, 'outputs', ['(N, C, H, W)', 'stages.0']),  # pooled vectors
        (DDRNET, 'outputs', ['1 and 2', 'spp']),  # an auxiliary output in training alone
        (PIDNET, 'outputs', ['1 and 3', 'stem']),
        (RESNET18, 'after_conv2', ['mmela.DetResNet']),  # basic blocks of the toolbox
    ],
)
def test_a_place_without_a_map_is_refused_by_name(network, position, said):
    with pytest.raises(ConfigError) as error:
        build(network, ela(position))
    assert all(words in str(error.value) for words in said), error.value


def test_other_positions_of_a_network_with_auxiliary_outputs_train():
    model = build(DDRNET, ela('spp')).train()
    assert len(model(torch.randn(2, 3, 64, 64))) == 2 and list(layers_of(model)) == ['spp.ela']


def test_a_network_that_rejects_small_maps_is_measured_on_larger_ones():
    model = build(CLS_SWIN, ela('outputs'))
    assert [layer.conv.in_channels for layer in layers_of(model).values()] == [96]


@pytest.mark.parametrize('plugins', [5, 'outputs', dict(position='outputs')])
def test_plugins_that_are_no_list_are_refused(plugins):
    with pytest.raises(ConfigError, match='expected a list'):
        build(FPN, plugins)


def test_a_network_that_is_not_there_is_named():
    init_default_scope('mmdet')
    with pytest.raises(ConfigError, match="'CSPNeXtPAFPM'.*did you mean 'CSPNeXtPAFPN'"):
        MODELS.build(dict(type='mmela.WithPlugins', network='CSPNeXtPAFPM', plugins=[]))


class TwoMaps(nn.Module):
    """A neck of one's own, which no registry knows."""

    def __init__(self, in_channels):
        super().__init__()
        self.in_channels = in_channels
        self.heads = nn.ModuleList(nn.Conv2d(in_channels, 8, 1) for _ in range(2))

    def forward(self, x):
        return [head(x) for head in self.heads]


def test_a_class_of_ones_own_is_taken():
    cfg = dict(type='mmela.WithPlugins', network=TwoMaps, in_channels=6, plugins=ela('outputs'))
    model = MODELS.build(cfg)
    assert isinstance(model, TwoMaps) and list(layers_of(model)) == ['ela_out0', 'ela_out1']
    assert isinstance(model(torch.rand(1, 6, 8, 8)), list)


@pytest.mark.long
@pytest.mark.core
@pytest.mark.parametrize('position', ['fpn_convs.*', 'outputs'])
def test_traced_and_compiled_it_is_the_same(position):
    model = build(FPN, ela(position)).eval()
    for layer in layers_of(model).values():
        nn.init.ones_(layer.scale)
    x = inputs(FPN)
    with torch.no_grad():
        expected = model(x)
        for variant in (torch.jit.trace(model, [x]), torch.compile(model)):
            for out, other in zip(variant(x), expected, strict=True):
                torch.testing.assert_close(out, other, rtol=1e-4, atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize('position', ['fpn_convs.*', 'outputs'])
def test_onnx_runtime_agrees(position, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    model = build(FPN, ela(position)).eval()
    for layer in layers_of(model).values():
        nn.init.ones_(layer.scale)
    x = inputs(FPN)
    torch.onnx.export(model, (x,), tmp_path / 'model.onnx', dynamo=False)
    session = onnxruntime.InferenceSession(tmp_path / 'model.onnx')
    names = [entry.name for entry in session.get_inputs()]
    outs = session.run(None, {n: t.numpy() for n, t in zip(names, x, strict=True)})
    with torch.no_grad():
        for out, other in zip(outs, model(x), strict=True):
            torch.testing.assert_close(torch.from_numpy(out), other, rtol=1e-4, atol=1e-5)


@pytest.mark.long
@pytest.mark.core
def test_it_trains_in_data_parallel_and_sharded(tmp_path, request):
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    x = inputs(FPN)
    expected = build(FPN, ela('fpn_convs.*'))
    sum(out.square().mean() for out in expected(x)).backward()
    grads = {n: p.grad for n, p in expected.named_parameters() if p.grad is not None}
    request.addfinalizer(lambda: dist.is_initialized() and dist.destroy_process_group())
    store = f'file://{tmp_path}/store'
    with disconnect_at_end():
        dist.init_process_group('gloo', init_method=store, rank=0, world_size=1)
        parallel = DistributedDataParallel(build(FPN, ela('fpn_convs.*')))
        sharded = build(FPN, ela('fpn_convs.*'))
        for layer in layers_of(sharded).values():
            fully_shard(layer)
        fully_shard(sharded)
        for model, inner in ((parallel, parallel.module), (sharded, sharded)):
            sum(out.square().mean() for out in model(x)).backward()
            found = {n: p.grad for n, p in inner.named_parameters() if p.grad is not None}
            assert found.keys() == grads.keys()
            for name, grad in found.items():
                grad = grad.full_tensor() if hasattr(grad, 'full_tensor') else grad
                torch.testing.assert_close(grad, grads[name])
