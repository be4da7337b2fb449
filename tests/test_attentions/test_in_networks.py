"""Attentions in networks: their names, the start from pretrained weights, the load report."""

from __future__ import annotations

import pytest
import torch
from mmdet.models.backbones import ResNet
from mmengine.registry import MODELS

from mmela.attentions import CBAM, ECA, ELA, SE, Attention, CoordAtt
from mmela.engine.hooks.load_report import LoadWatch, attention_layers

ATTENTIONS = {'se': SE, 'eca': ECA, 'cbam': CBAM, 'coord_att': CoordAtt, 'ela': ELA}
every_attention = pytest.mark.parametrize('abbr', ATTENTIONS)


@every_attention
def test_a_plugins_list_names_it_and_the_network_starts_where_it_was(abbr):
    plugin = dict(
        cfg=dict(type=f'mmela.{ATTENTIONS[abbr].__name__}', residual='scaled'),
        position='after_conv2',
        stages=(False, True, True, True),
    )
    narrow = dict(base_channels=16, stem_channels=16)
    x = torch.randn(2, 3, 64, 64)
    for plain, network in (
        (ResNet(50, **narrow), ResNet(50, plugins=[plugin], **narrow)),
        (ResNet(18, **narrow), MODELS.build(
            dict(type='mmela.DetResNet', depth=18, plugins=[plugin], **narrow))),
    ):  # fmt: skip
        network.init_weights()
        for name, module in network.named_modules():
            if name.rpartition('.')[2] in ('bn2', 'bn3'):  # open what `zero_init_residual` closes
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        new = set(network.state_dict()) - set(plain.state_dict())
        assert new and all(key.split('.')[2] == abbr for key in new)
        plain.load_state_dict({k: v for k, v in network.state_dict().items() if k not in new})
        plain.eval(), network.eval()
        outputs = [network(x), plain(x)]
        for out, expected in zip(*outputs, strict=True):
            assert torch.equal(out, expected)
        for module in network.modules():
            if isinstance(module, Attention):
                torch.nn.init.ones_(module.scale)
        assert not torch.equal(network(x)[-1], outputs[0][-1])  # a difference would have shown


@pytest.mark.parametrize('abbr', ['cbam', 'coord_att'])
@pytest.mark.parametrize('norm_eval', [True, False])
def test_norm_eval_of_a_resnet_keeps_new_batch_norms_too_from_statistics(abbr, norm_eval):
    """What docs/attention_zoo.md warns of."""
    layer = ATTENTIONS[abbr]
    plugin = dict(cfg=dict(type=f'mmela.{layer.__name__}'), position='after_conv2')
    network = ResNet(50, plugins=[plugin], norm_eval=norm_eval, base_channels=16, stem_channels=16)
    network.train()
    network(torch.randn(2, 3, 64, 64))
    for module in network.modules():
        if isinstance(module, layer):
            assert getattr(module, module.norm_name).num_batches_tracked == (not norm_eval)


@every_attention
def test_the_load_report_tells_that_a_new_scale_switches_trained_attention_off(abbr):
    layer = ATTENTIONS[abbr]
    network = torch.nn.Sequential(layer(64, residual='scaled'))
    checkpoint = torch.nn.Sequential(layer(64))
    reports = []
    LoadWatch(network, 'checkpoint', 'the network', reports.append)
    network.load_state_dict(checkpoint.state_dict(), strict=False)
    (report,) = reports
    assert attention_layers(network) == {'0': abbr}
    assert any('switches the trained attention off' in line for line in report.lines())
