"""A checkpoint that cannot be converted is refused in one sentence; nothing is written."""

import pytest
import torch
from plain_yolox import PlainYOLOX
from torch import nn

TOOL = 'ela_code_yolox.py'


@pytest.fixture(scope='module')
def state():
    return PlainYOLOX('nano', 20, attention=True).state_dict()


@pytest.fixture
def refusal(convert_tool, tmp_path):
    """What the tool says of a checkpoint or of the bytes of a file."""

    def run(contents, *arguments):
        source, target = tmp_path / 'theirs.pth', tmp_path / 'ours.pth'
        if isinstance(contents, bytes):
            source.write_bytes(contents)
        else:
            torch.save(contents, source)
        before = source.read_bytes()
        status, out, err = convert_tool(TOOL, source, target, *arguments)
        assert (status, out) == (2, '') and err.startswith('error: ') and err.count('\n') == 1
        assert source.read_bytes() == before
        assert [path.name for path in tmp_path.glob('*.pth*')] == ['theirs.pth']
        return err

    return run


def test_a_missing_file_is_named(convert_tool, tmp_path):
    status, _, err = convert_tool(TOOL, tmp_path / 'no.pth', tmp_path / 'ours.pth')
    assert status == 2 and f'{tmp_path}/no.pth' in err


@pytest.mark.parametrize('tool', [TOOL, 'megvii_yolox.py'])
def test_a_folder_is_refused(tool, convert_tool, tmp_path):
    status, _, err = convert_tool(tool, tmp_path, tmp_path / 'ours.pth')
    assert status == 2 and f'folder {tmp_path}' in err


def test_a_file_that_is_no_checkpoint_is_refused(refusal):
    assert "begins with b'<html>" in refusal(b'<html>not found</html>')


def test_a_checkpoint_that_is_cut_short_is_refused(refusal, state, tmp_path):
    torch.save(state, tmp_path / 'whole')
    half = (tmp_path / 'whole').read_bytes()[:100_000]
    assert 'truncated' in refusal(half) and '100,000 bytes' in refusal(half)


def test_a_file_with_objects_is_not_read(refusal):
    """Unpickling them could run code."""
    assert 'torch.nn.modules.linear.Linear' in refusal({'model': nn.Linear(2, 2)})


@pytest.mark.parametrize(
    'contents, said',
    [
        ({}, 'no tensors'),
        ({'conv1.weight': torch.zeros(1), 'fc.bias': torch.zeros(1)}, 'conv1.weight, fc.bias'),
        ({'model': {'epoch': 3}}, 'other values for epoch'),
        ([1, 2], 'got a list'),
        ({'bbox_head.multi_level_conv_cls.0.bias': torch.zeros(1)}, "MMDetection's names already"),
        ({'backbone.backbone.dark2.1.layer1.conv.weight': torch.zeros(1)}, 'YOLOX-Darknet53'),
    ],
)
def test_another_network_is_refused(refusal, contents, said):
    assert said in refusal(contents)


def test_missing_tensors_are_counted_and_named(refusal, state):
    less = {k: v for k, v in state.items() if not k.startswith('backbone.C3_p4.conv1')}
    err = refusal(less)
    assert '642 tensors of YOLOX-nano' in err and '6 are missing' in err
    assert 'backbone.C3_p4.conv1.conv.weight' in err and 'and 3 more' in err


def test_tensors_without_a_place_are_named_and_not_lost(refusal, state):
    err = refusal({**state, 'head.iou_preds.0.bias': torch.zeros(1)})
    assert '1 tensors' in err and 'head.iou_preds.0.bias' in err


def test_another_attention_of_the_authors_is_refused(refusal, state):
    """Theirs are kept under the same names, such as SE's fully connected layers."""
    se = {k: v for k, v in state.items() if 'feat' not in k}
    se['backbone.feat06.fc.0.weight'] = torch.zeros(4, 64)
    err = refusal(se)
    assert 'backbone.feat06: expected ELA' in err and 'backbone.feat06.fc.0.weight' in err


def test_an_unknown_kernel_of_ela_is_reported_with_the_known_ones(refusal, state):
    strange = dict(state)
    for layer in ('feat06', 'feat1', 'feat2'):
        weight = strange[f'backbone.{layer}.conv.weight']
        strange[f'backbone.{layer}.conv.weight'] = weight.repeat(1, 2, 1)
    err = refusal(strange)
    assert 'T (1, 5)' in err and '(2, 5)' in err


def test_attention_of_another_width_is_refused(refusal, state):
    err = refusal({**state, 'backbone.feat1.gn.bias': torch.zeros(96)})
    assert 'backbone.feat1.gn.bias' in err and '128 channels' in err and '(96,)' in err


def test_the_names_of_the_classes_have_to_be_as_many_as_the_classes(refusal, state, tmp_path):
    (tmp_path / 'classes.txt').write_text('cat\ndog\n')
    err = refusal(state, '--classes', tmp_path / 'classes.txt')
    assert 'expected 20 names, got 2' in err
    assert 'cannot be read' in refusal(state, '--classes', tmp_path / 'none.txt')


def test_names_of_classes_are_taken_from_a_file(convert_tool, state, tmp_path):
    names = [f'class {i}' for i in range(20)]
    (tmp_path / 'classes.txt').write_text('\n'.join(names))
    torch.save(state, tmp_path / 'theirs.pth')
    convert_tool(
        TOOL, tmp_path / 'theirs.pth', tmp_path / 'ours.pth', '--classes', tmp_path / 'classes.txt'
    )
    meta = torch.load(tmp_path / 'ours.pth', weights_only=True)['meta']
    assert list(meta['dataset_meta']['classes']) == names


def test_a_file_is_replaced_only_if_asked_for(convert_tool, state, tmp_path):
    source, target = tmp_path / 'theirs.pth', tmp_path / 'folder' / 'ours.pth'
    torch.save(state, source)
    assert convert_tool(TOOL, source, target)[0] == 0  # and makes the folder
    target.write_text('precious')
    status, _, err = convert_tool(TOOL, source, target)
    assert status == 2 and '--overwrite' in err and target.read_text() == 'precious'
    assert convert_tool(TOOL, source, target, '--overwrite')[0] == 0
    assert len(torch.load(target, weights_only=True)['state_dict']) == 651


def test_the_source_is_never_written_over(convert_tool, state, tmp_path):
    source = tmp_path / 'theirs.pth'
    torch.save(state, source)
    before = source.read_bytes()
    status, _, err = convert_tool(TOOL, source, source, '--overwrite')
    assert status == 2 and 'is the source itself' in err and source.read_bytes() == before


def test_a_failed_conversion_leaves_the_file_that_was_there(convert_tool, tmp_path):
    target = tmp_path / 'ours.pth'
    target.write_text('precious')
    torch.save({'a': torch.zeros(1)}, tmp_path / 'theirs.pth')
    status, _, _ = convert_tool(TOOL, tmp_path / 'theirs.pth', target, '--overwrite')
    assert status == 2 and target.read_text() == 'precious'


def test_a_folder_that_cannot_be_written_is_a_sentence(convert_tool, state, tmp_path):
    torch.save(state, tmp_path / 'theirs.pth')
    status, _, err = convert_tool(
        TOOL, tmp_path / 'theirs.pth', tmp_path / 'theirs.pth' / 'ours.pth'
    )
    assert status == 2 and 'cannot be written' in err


def test_a_network_saved_inside_data_parallel_is_read(convert_tool, state, tmp_path):
    wrapped = {f'module.{name}': tensor for name, tensor in state.items()}
    torch.save(wrapped, tmp_path / 'theirs.pth')
    assert convert_tool(TOOL, tmp_path / 'theirs.pth', tmp_path / 'ours.pth')[0] == 0
