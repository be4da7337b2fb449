from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel, BaseTTAModel
from mmengine.runner import load_checkpoint
from torch import nn

from mmela import ELA
from mmela.engine import UserError
from mmela.engine.hooks.load_report import LoadWatch, attention_layers
from mmela.engine.hooks.load_report_hook import LoadReportHook, unwrap


class Net(nn.Module):
    """A network with or without attention whose keys can be written down by hand."""

    def __init__(self, classes=4, **ela):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        if ela:
            self.ela = ELA(8, **ela)
        self.head = nn.Linear(8, classes)


PLAIN = {
    'conv.weight',
    'conv.bias',
    'bn.weight',
    'bn.bias',
    'bn.running_mean',
    'bn.running_var',
    'bn.num_batches_tracked',
    'head.weight',
    'head.bias',
}
ATTENTION = {'ela.conv.weight', 'ela.gn.weight', 'ela.gn.bias'}


def report_of(source, target, tmp_path, drop=()):
    """Loads one network's weights into another by MMEngine and returns the report."""
    state = OrderedDict((k, v) for k, v in source.state_dict().items() if k not in drop)
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    reports = []
    watch = LoadWatch(target, 'a.pth', 'the network', reports.append)
    load_checkpoint(target, str(tmp_path / 'a.pth'))
    watch.remove()
    load_checkpoint(target, str(tmp_path / 'a.pth'))  # not watched any more
    (report,) = reports
    return report


def text(report):
    return '\n'.join(report.lines() + report.warnings())


def test_everything_in_its_place_is_one_line(tmp_path):
    report = report_of(Net(variant='T'), Net(variant='T'), tmp_path)
    assert set(report.loaded) == PLAIN | ATTENTION
    (line,) = report.lines()
    assert 'a.pth -> the network: 12 tensors loaded' in line
    assert report.warnings() == []


def test_attention_added_to_trained_weights_is_new_and_nothing_else(tmp_path):
    report = report_of(Net(), Net(variant='T'), tmp_path)
    assert set(report.loaded) == PLAIN
    assert set(report.new) == ATTENTION
    assert (report.untrained, report.unexpected, report.mismatched) == ([], [], {})
    assert '9 tensors loaded' in text(report)
    assert '3 new, all of the attention (ela): ela.*' in text(report)
    assert 'MISSING' not in text(report)


@pytest.mark.parametrize(('residual', 'noted'), [(False, True), (True, False), ('scaled', False)])
def test_new_attention_that_spoils_trained_features_is_noted(residual, noted, tmp_path):
    net = Net(variant='T', residual=residual)
    assert ('residual=True or' in text(report_of(Net(), net, tmp_path))) is noted
    assert 'residual=True or' not in text(report_of(net, net, tmp_path))  # trained with it
    strange = report_of(Whole(Net()), net, tmp_path)  # none of its tensors is loaded
    assert 'residual=True or' not in text(strange)


def test_attention_that_the_config_forgot_is_unexpected(tmp_path):
    report = report_of(Net(variant='T'), Net(), tmp_path)
    assert set(report.unexpected) == ATTENTION
    assert 'unexpected' in text(report) and "no 'plugins' for" in text(report)


class Whole(nn.Module):
    """A network with another as its backbone."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Linear(8, 2)


def test_a_whole_network_for_its_part_needs_a_prefix_and_no_plugins(tmp_path):
    report = report_of(Whole(Net(variant='T')), Net(variant='T'), tmp_path)
    report.target = 'backbone'
    assert report.is_useless and report.prefix == 'backbone.'
    assert "the init_cfg needs prefix='backbone.'" in text(report)
    assert "no 'plugins' for" not in text(report)


def test_attention_that_the_config_forgot_is_noted_behind_a_prefix_too(tmp_path):
    report = report_of(Whole(Net(variant='T')), Net(), tmp_path)
    assert "have 'backbone.' before" in text(report) and "no 'plugins' for" in text(report)


def test_a_part_that_is_new_is_not_taken_for_a_prefix(tmp_path):
    report = report_of(Whole(Net()), Whole(Net(variant='T')), tmp_path, drop=['neck.bias'])
    assert report.prefix == '' and not report.is_useless


def test_a_second_network_beside_this_one_is_not_taken_for_a_prefix(tmp_path):
    both = Net()
    both.teacher = Net()
    report = report_of(both, Net(), tmp_path, drop=['head.bias'])
    assert report.prefix == ''


def test_attention_alone_does_not_make_a_load_worthwhile(tmp_path):
    assert report_of(Net(variant='T'), Net(variant='T'), tmp_path, drop=PLAIN).is_useless
    alone = nn.Sequential(ELA(8))
    assert not report_of(alone, alone, tmp_path).is_useless


def test_missing_tensors_that_are_not_attention_are_a_warning(tmp_path):
    report = report_of(Net(variant='T'), Net(variant='T'), tmp_path, drop=['conv.weight'])
    assert report.untrained == ['conv.weight'] and report.new == []
    (warning,) = report.warnings()
    assert 'MISSING: 1 ' in warning and 'START UNTRAINED: conv.weight' in warning


def test_counters_of_batch_norm_may_be_missing(tmp_path):
    report = report_of(Net(), Net(), tmp_path, drop=['bn.num_batches_tracked'])
    assert report.is_complete and set(report.loaded) == PLAIN - {'bn.num_batches_tracked'}


def test_a_head_for_other_classes_is_reported_with_both_shapes(tmp_path):
    report = report_of(Net(classes=4), Net(classes=7), tmp_path)
    assert set(report.mismatched) == {'head.weight', 'head.bias'}
    assert set(report.loaded) == PLAIN - {'head.weight', 'head.bias'}
    assert '2 of another shape' in text(report)
    assert 'head.weight (7, 8) here, (4, 8) there' in text(report)


@pytest.mark.parametrize(
    ('there', 'here', 'words'),
    [
        ('scaled', False, "the checkpoint was trained with residual='scaled'"),
        (True, 'scaled', "this config has residual='scaled', the checkpoint was trained without"),
    ],
)
def test_a_residual_of_another_kind_is_noted(there, here, words, tmp_path):
    source, target = Net(variant='T', residual=there), Net(variant='T', residual=here)
    assert words in text(report_of(source, target, tmp_path))


def test_another_variant_is_noted(tmp_path):
    report = report_of(Net(variant='T'), Net(variant='B'), tmp_path)
    assert set(report.mismatched) == {'ela.conv.weight'}
    assert 'of another variant' in text(report)


def test_the_report_says_what_torch_says(tmp_path):
    source, target = Net(), Net(variant='T', residual='scaled')
    expected = target.load_state_dict(source.state_dict(), strict=False)
    report = report_of(source, target, tmp_path)
    assert report.missing == expected.missing_keys
    assert report.unexpected == expected.unexpected_keys


def test_user_layers_count_as_attention_if_they_inherit_from_one():
    class Own(ELA):
        _abbr_ = 'own'

    model = nn.Sequential(nn.Conv2d(3, 8, 1), ELA(8), Own(8))
    assert attention_layers(model) == {'1': 'ela', '2': 'own'}


def test_a_watch_leaves_loads_of_a_parent_to_the_parent():
    inner, outer = [], []
    model = nn.Sequential(nn.Linear(2, 2))
    LoadWatch(model[0], '', 'inner', inner.append)
    LoadWatch(model, '', 'outer', outer.append)
    model.load_state_dict(model.state_dict())
    assert (len(inner), len(outer)) == (0, 1)
    model[0].load_state_dict(model[0].state_dict())
    assert (len(inner), len(outer)) == (1, 1)


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return inputs


class Augmented(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return data_samples_list


def test_the_network_inside_test_time_augmentation_is_found():
    model = Model()
    assert unwrap(Augmented(model)) is model and unwrap(model) is model


@pytest.mark.parametrize('start', ['before_train', 'before_val', 'before_test'])
def test_useless_weights_end_the_run_before_it_starts(start):
    model, hook = Model(), LoadReportHook()
    cfg = Config(dict(model=dict(type='Net'), load_from='a.pth'))
    runner = SimpleNamespace(cfg=cfg, model=model, logger='silent')
    hook.before_run(runner)
    model.load_state_dict(Whole(Net()).state_dict(), strict=False)
    with pytest.raises(UserError, match='no tensor of a.pth fits the network') as error:
        getattr(hook, start)(runner)
    assert ('--cfg-options load_from=None' in str(error.value)) == (start == 'before_train')


def test_useless_weights_are_accepted_if_those_of_the_whole_network_follow():
    model, hook = Model(), LoadReportHook()
    runner = SimpleNamespace(
        cfg=Config(dict(model=dict(type='Net'), load_from='a.pth')), model=model, logger='silent'
    )
    hook.before_run(runner)
    model.load_state_dict({}, strict=False)
    model.load_state_dict(model.state_dict())
    hook.before_train(runner)


RGB = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
#: As some configs write the same.
RGB_BY_PRODUCTS = dict(
    mean=[255 * v for v in (0.485, 0.456, 0.406)],
    std=[255 * v for v in (0.229, 0.224, 0.225)],
    bgr_to_rgb=True,
)


@pytest.mark.parametrize(
    ('there', 'here', 'words', 'with_tta'),
    [
        (RGB, RGB, None, False),
        (RGB, RGB_BY_PRODUCTS, None, True),
        (RGB, {}, '(mean 123.675, 116.28, 103.53, std 58.395, 57.12, 57.375)', False),
        (RGB, {**RGB, 'bgr_to_rgb': False}, 'BGR (mean 123.675, 116.28', True),
        (RGB, {**RGB, 'std': [1, 1, 1]}, 'RGB (mean 123.675, 116.28, 103.53, std 1', False),
        ({}, {'mean': [0, 0, 0], 'std': [1, 1, 1]}, None, False),
        ({}, {'bgr_to_rgb': True}, 'RGB from 0 to 255', True),
        (None, RGB, None, False),  # a checkpoint without this entry
    ],
)
def test_weights_for_another_preprocessing_are_noted_although_every_tensor_fits(
    there, here, words, with_tta, tmp_path
):
    model_cfg = dict(type='Net', data_preprocessor=here)
    cfg = Config(dict(model=dict(type='TTA', module=model_cfg) if with_tta else model_cfg))
    model = Model()
    meta = {} if there is None else dict(data_preprocessor=there, converted_for='its.py')
    torch.save(dict(meta=meta, state_dict=model.state_dict()), tmp_path / 'a.pth')
    hook = LoadReportHook()
    runner = SimpleNamespace(cfg=cfg, model=Augmented(model) if with_tta else model)
    hook.before_run(runner)
    # As Runner.load_checkpoint does.
    checkpoint = torch.load(tmp_path / 'a.pth')
    hook.after_load_checkpoint(runner, checkpoint)
    unwrap(runner.model).load_state_dict(checkpoint['state_dict'])
    (report,) = hook.reports
    lines = report.lines()
    assert len(lines) == (1 if words is None else 2)
    assert words is None or (words in lines[1] and 'it is for its.py' in lines[1])


def test_a_checkpoint_without_meta_has_no_note():
    hook = LoadReportHook()
    model = Model()
    runner = SimpleNamespace(cfg=Config(dict(model=dict(type='Net'))), model=model)
    hook.before_run(runner)
    hook.after_load_checkpoint(runner, model.state_dict())
    model.load_state_dict(model.state_dict())
    assert len(hook.reports[0].lines()) == 1
