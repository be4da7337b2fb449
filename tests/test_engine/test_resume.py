"""--resume continues from the newest whole checkpoint of a work dir, or says why it cannot."""

import shutil
from pathlib import Path

import pytest
import torch
from toy_run import toy_config, toy_train

from mmela.engine import UserError, use_resume
from mmela.engine.checkpoints.reading import read_checkpoint
from mmela.engine.checkpoints.resume import warn_of_occupied_work_dir


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained') / 'run'
    toy_train(toy_config(folder, **{'default_hooks.checkpoint.save_best': 'acc'}))
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A work dir that was moved: what last_checkpoint names is the folder where it was before."""
    return Path(shutil.copytree(trained, tmp_path / 'run'))


def resumed_from(folder, **options):
    cfg = toy_config(folder, **options)
    use_resume(cfg, 'auto')
    return Path(cfg.load_from).name if cfg.get('load_from') else None


def zero(path):
    content = bytearray(path.read_bytes())
    middle = content.index(b'data.pkl') + 200
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)


@pytest.fixture
def heard(monkeypatch):
    """Messages to the user."""
    lines = []
    monkeypatch.setattr(
        'mmela.engine.checkpoints.resume.log_once', lambda line, **_: lines.append(line)
    )
    return lines


@pytest.mark.parametrize(
    'damage',
    [
        zero,
        lambda path: path.write_bytes(path.read_bytes()[:2000]),
        Path.touch,
    ],
    ids=['zeroed', 'truncated', 'empty'],
)
def test_a_damaged_checkpoint_is_passed_over_and_named(run, heard, damage):
    path = run / 'epoch_3.pth'
    if damage is Path.touch:
        path.unlink()
    damage(path)
    assert resumed_from(run) == 'epoch_2.pth'
    assert 'skipped' in heard[0] and str(run / 'epoch_3.pth') in heard[0]
    assert f'continues from {run}/epoch_2.pth (epoch 2, iteration 8)' in heard[1]


@pytest.mark.parametrize('note', [None, '', '/no/such/epoch_9.pth', 'epoch_1.pth', '\0\xff'])
def test_last_checkpoint_may_be_missing_empty_or_wrong(run, note):
    (run / 'last_checkpoint').unlink()
    if note is not None:
        (run / 'last_checkpoint').write_bytes(note.encode('latin-1'))
    assert resumed_from(run) == 'epoch_3.pth'


def test_a_copied_work_dir_is_resumed_from_its_own_files(run, trained):
    assert str(trained) in (run / 'last_checkpoint').read_text()
    cfg = toy_config(run)
    use_resume(cfg, 'auto')
    assert cfg.load_from == str(run / 'epoch_3.pth') and cfg.resume


def test_a_run_never_starts_over_where_checkpoints_exist(run):
    for path in run.glob('epoch_*.pth'):
        zero(path)
    for path in run.glob('best_*.pth'):
        path.unlink()
    with pytest.raises(UserError, match='no usable checkpoint') as error:
        resumed_from(run)
    for name in ('epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth', 'without --resume'):
        assert name in str(error.value)


def test_a_note_of_a_checkpoint_that_is_gone_is_no_new_run(run):
    for path in run.glob('*.pth'):
        path.unlink()
    (run / 'last_checkpoint').write_text('/no/epoch_9.pth')
    with pytest.raises(UserError, match=r'/no/epoch_9\.pth'):
        resumed_from(run)


def test_where_there_is_nothing_a_new_run_begins(tmp_path, heard):
    cfg = toy_config(tmp_path, load_from='start.pth')
    use_resume(cfg, 'auto')
    assert cfg.load_from == 'start.pth' and not cfg.resume and 'a new run begins' in heard[0]


def test_weights_without_a_training_are_no_candidates(run):
    torch.save({'state_dict': {}}, run / 'published.pth')
    torch.save({'state_dict': {}, 'meta': {'epoch': 99, 'iter': 999}}, run / 'best_of_all.pth')
    assert resumed_from(run) == 'epoch_3.pth'


def test_weights_of_torch_before_1_6_are_no_candidates_and_not_damaged(tmp_path):
    torch.save({'a': torch.ones(2)}, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    assert resumed_from(tmp_path) is None


def test_a_run_continues_from_a_checkpoint_in_the_format_before_torch_1_6(run):
    path = run / 'epoch_3.pth'
    checkpoint = torch.load(path, weights_only=False)
    torch.save(checkpoint, path, _use_new_zipfile_serialization=False)
    assert resumed_from(run) == 'epoch_3.pth'
    path.write_bytes(path.read_bytes()[:2000])
    assert resumed_from(run) == 'epoch_2.pth'


def test_the_later_of_two_runs_in_a_folder_counts_and_not_the_longer(run, monkeypatch):
    path = run / 'epoch_1.pth'
    checkpoint = read_checkpoint(str(path))
    checkpoint['meta'].update(experiment_name='later', time='29991231_235959')
    torch.save(checkpoint, path)
    assert resumed_from(run) == 'epoch_1.pth'


def test_an_occupied_work_dir_is_warned_of(run, tmp_path, heard):
    warn_of_occupied_work_dir(toy_config(run))
    assert len(heard) == 1 and str(run) in heard[0] and '--resume' in heard[0]
    warn_of_occupied_work_dir(toy_config(run, resume=True))
    warn_of_occupied_work_dir(toy_config(tmp_path / 'empty'))
    assert len(heard) == 1


def resume(run, checkpoint=None, **options):
    """Continues in a new folder from a checkpoint that was changed."""
    path = run / 'epoch_3.pth'
    if checkpoint is not None:
        path = run / 'changed.pth'
        torch.save(checkpoint, path)
    resumed = {'resume': True, 'load_from': str(path), 'train_cfg.max_epochs': 4}
    return toy_train(toy_config(run, **resumed, **options))


def refusal(*arguments, **options):
    with pytest.raises(UserError) as error:
        resume(*arguments, **options)
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.fixture
def checkpoint(run):
    return read_checkpoint(str(run / 'epoch_3.pth'))


def test_another_network_is_sent_to_load_from(run):
    said = refusal(run, **{'model.extra': 1})
    assert 'differ: 2 (layers.1.weight, layers.1.bias)' in said
    assert f'load_from={run}/epoch_3.pth' in said
    assert 'differ: 1 (filling)' in refusal(run, **{'model.buffer': 3})


def test_a_network_with_fewer_layers_is_another(run, checkpoint):
    checkpoint['state_dict']['backbone.ela.conv.weight'] = torch.zeros(1)
    assert 'backbone.ela.conv.weight' in refusal(run, checkpoint)


def test_another_batch_size_is_refused_with_both_numbers(run):
    said = refusal(run, **{'train_dataloader.batch_size': 2})
    assert '1 x 4 images' in said and '1 x 2' in said
    assert '--cfg-options train_dataloader.batch_size=4' in said


@pytest.mark.parametrize(
    'processes, batch, fix',
    [(2, 4, 'batch_size=8'), (3, 2, 'batch_size=6'), (2, 2, None)],
)
def test_another_number_of_processes_is_refused_with_both_numbers(
    run, checkpoint, processes, batch, fix
):
    checkpoint['meta']['mmela'] = dict(processes=processes, batch_size=batch)
    if fix is None:  # as many images in an iteration as before
        assert resume(run, checkpoint).iter == 16
    else:
        said = refusal(run, checkpoint)
        assert f'{processes} x {batch} images' in said and '1 x 4' in said and fix in said


def test_batches_that_cannot_be_divided_name_the_processes(run, checkpoint, monkeypatch):
    checkpoint['meta']['mmela'] = dict(processes=1, batch_size=3)
    monkeypatch.setattr('mmela.engine.checkpoints.resume_hook.get_world_size', lambda: 2)
    assert 'start 1 processes with train_dataloader.batch_size=3' in refusal(run, checkpoint)


def test_of_mmengines_own_checkpoints_the_config_says_the_batch_size(run, checkpoint):
    del checkpoint['meta']['mmela']
    assert resume(run, checkpoint).iter == 16
    said = refusal(run, checkpoint, **{'train_dataloader.batch_size': 2})
    assert 'batch size of 4' in said and 'this run has 2' in said and 'batch_size=4' in said


def test_of_mmengines_own_checkpoints_the_length_of_an_epoch_counts(run, checkpoint):
    """What another number of processes, or another data set, changes."""
    del checkpoint['meta']['mmela']
    said = refusal(run, checkpoint, **{'train_dataloader.dataset.size': 32})
    assert '4 iterations in an epoch' in said and 'this run has 8' in said


def test_a_missing_state_of_the_optimizer_is_said(run, checkpoint, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmela.engine.checkpoints.resume_hook.print_log', lambda line, **_: lines.append(line)
    )
    resume(run)
    assert lines == []
    del checkpoint['optimizer']
    resume(run, checkpoint)
    assert len(lines) == 1 and 'no state of the optimizer' in lines[0] and 'changed.pth' in lines[0]


@pytest.mark.parametrize('key', ['meta', 'message_hub'])
def test_what_is_no_training_is_sent_to_load_from(run, checkpoint, key):
    del checkpoint[key]
    said = refusal(run, checkpoint)
    assert 'not a training checkpoint' in said and 'load_from=' in said


def test_momentum_and_iterations_continue(run):
    runner = resume(run)
    state = runner.optim_wrapper.optimizer.state_dict()['state']
    assert runner.iter == 16 and state[0]['momentum_buffer'].abs().sum() > 0
