"""Parameter totals of the ImageNet configs, classifier included, and what their recipes say."""

from __future__ import annotations

import pytest
from mmengine.registry import MODELS, init_default_scope

from mmela.engine import load_config

pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')


def total(path):
    cfg = load_config(path)
    init_default_scope('mmpretrain')
    # Not on the meta device: MMPreTrain's ResNet reads values of a tensor while it is built.
    return sum(parameter.numel() for parameter in MODELS.build(cfg.model).parameters())


@pytest.mark.parametrize('recipe', ['8xb32-200e', '8xb128-mbv3', '8xb32'])
@pytest.mark.parametrize(
    'attention, millions',
    [('', 3.505), ('-ela-b', 3.569), ('-ela-s', 3.803), ('-ela-l', 3.917), ('-coord-att', 3.951)],
)
def test_mobilenet_v2_has_the_published_totals(repo_root, attention, millions, recipe):
    folder = 'mmpretrain::mobilenet_v2/'
    if attention or recipe != '8xb32':
        folder = f'{repo_root}/configs/cls/mobilenet_v2/'
    path = f'{folder}mobilenet-v2{attention}_{recipe}_in1k.py'
    assert round(total(path) / 1e6, 3) == millions


@pytest.mark.parametrize(
    'attention, millions',
    [('', 25.557), ('-ela-t', 25.583), ('-ela-b', 25.591), ('-ela-s', 25.716), ('-ela-l', 25.776)],
)
def test_resnet50_has_the_totals_of_the_definition(repo_root, attention, millions):
    folder = f'{repo_root}/configs/cls/resnet/' if attention else 'mmpretrain::resnet/'
    assert round(total(f'{folder}resnet50{attention}_8xb32_in1k.py') / 1e6, 3) == millions


def test_eca_adds_a_few_dozen_parameters_to_resnet50(repo_root):
    plain = total('mmpretrain::resnet/resnet50_8xb32_in1k.py')
    added = total(f'{repo_root}/configs/cls/resnet/resnet50-eca_8xb32_in1k.py') - plain
    assert 24 <= added <= 120


def test_the_authors_learning_rate_falls_evenly_to_a_tenth(repo_root):
    """Their `adjust_learning_rate` in mode 'step': lr * 0.1 ** (done / total)."""
    cfg = load_config(f'{repo_root}/configs/cls/mobilenet_v2/mobilenet-v2-ela-l_8xb32-200e_in1k.py')
    assert cfg.train_cfg.max_epochs == 200
    schedule, optimizer = cfg.param_scheduler, cfg.optim_wrapper.optimizer
    assert (schedule.type, optimizer.lr, optimizer.weight_decay) == ('ExponentialLR', 0.1, 1e-4)
    assert optimizer.lr * schedule.gamma**100 == pytest.approx(0.1 * 0.1**0.5)
    assert optimizer.lr * schedule.gamma**200 == pytest.approx(0.01)
