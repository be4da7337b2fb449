"""A checkpoint stands under its name only when it is whole, and old ones go after that."""

import errno
import os
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from mmengine.fileio import BaseStorageBackend, get_file_backend, register_backend
from toy_run import ToyScore, toy_config, toy_train

from mmela.engine import UserError, use_resume
from mmela.engine.checkpoints.reading import checkpoints_as_data, read_checkpoint
from mmela.engine.checkpoints.saving import (
    SafeLocalBackend,
    explain_failed_writes,
    make_work_dir,
)
from mmela.engine.hooks.signals import end_on_signals
from mmela.engine.runner import build_runner

ONE = {'default_hooks.checkpoint.max_keep_ckpts': 1}
BEST = {'default_hooks.checkpoint.save_best': 'acc'}


def names(folder):
    return sorted(path.name for path in Path(folder).glob('*.p*'))


@pytest.fixture
def folders_at_sync(monkeypatch):
    """The files beside each checkpoint at the moment in which it is flushed to the disk."""
    seen, fsync = [], os.fsync

    def spy(descriptor):
        path = Path(os.readlink(f'/proc/self/fd/{descriptor}'))
        if path.suffix == '.part':
            seen.append((path.name, names(path.parent)))
        fsync(descriptor)

    monkeypatch.setattr(os, 'fsync', spy)
    return seen


def test_the_old_checkpoint_is_there_until_the_new_one_is_whole(tmp_path, folders_at_sync):
    toy_train(toy_config(tmp_path, val_cfg=None, val_dataloader=None, val_evaluator=None, **ONE))
    python = [name for name in names(tmp_path) if name.endswith('.py')]
    assert folders_at_sync == [
        ('epoch_1.pth.part', [*python, 'epoch_1.pth.part']),
        ('epoch_2.pth.part', [*python, 'epoch_1.pth', 'epoch_2.pth.part']),
        ('epoch_3.pth.part', [*python, 'epoch_2.pth', 'epoch_3.pth.part']),
    ]
    assert names(tmp_path) == [*python, 'epoch_3.pth']


def test_the_best_checkpoint_is_replaced_in_the_same_order(tmp_path, folders_at_sync):
    toy_train(toy_config(tmp_path, **ONE, **BEST))
    best = [(name, others) for name, others in folders_at_sync if name.startswith('best')]
    assert len(best) == 3
    assert 'best_acc_epoch_1.pth' in best[1][1] and 'best_acc_epoch_2.pth' in best[2][1]
    left = [name for name in names(tmp_path) if name.endswith('.pth')]
    assert left == ['best_acc_epoch_3.pth', 'epoch_3.pth']


def test_the_best_of_the_same_name_is_not_removed(tmp_path):
    toy_train(toy_config(tmp_path, **BEST))
    ToyScore.count += 10  # better than what it replaces, in the same epoch as before
    toy_train(toy_config(tmp_path, resume=True, load_from=str(tmp_path / 'epoch_2.pth'), **BEST))
    assert read_checkpoint(str(tmp_path / 'best_acc_epoch_3.pth'))['meta']['epoch'] == 3


def test_preempted_runs_leave_no_more_checkpoints_than_are_kept(tmp_path):
    import interrupt  # noqa: F401  (registers the hook that sends the signal)

    for iteration in (2, 3, 6, 7):
        hook = dict(type='SendSignalHook', iteration=iteration)
        cfg = toy_config(tmp_path, custom_hooks=[hook], **ONE)
        use_resume(cfg, 'auto')
        with checkpoints_as_data():
            runner = build_runner(cfg)
            with pytest.raises(SystemExit), end_on_signals(runner):
                runner.train()
        (left,) = tmp_path.glob('*.pth')
        assert read_checkpoint(str(left))['meta']['iter'] == iteration


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_costs_no_checkpoint(tmp_path, monkeypatch, code):
    toy_train(toy_config(tmp_path, **ONE, **{'train_cfg.max_epochs': 1}))
    before = (tmp_path / 'epoch_1.pth').read_bytes()

    def full(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, 'fsync', full)
    resumed = {'resume': True, 'load_from': str(tmp_path / 'epoch_1.pth')}
    with pytest.raises(UserError, match=r'epoch_2\.pth.*--resume') as error:
        toy_train(toy_config(tmp_path, **ONE, **resumed))
    assert os.strerror(code) in str(error.value)
    assert (tmp_path / 'epoch_1.pth').read_bytes() == before
    assert [name for name in names(tmp_path) if '.pth' in name] == ['epoch_1.pth']
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_1.pth')


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 400 KB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip('needs the right to mount')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)


def test_a_disk_that_fills_up_ends_the_run_in_a_sentence(small_disk):
    work_dir = small_disk / 'run'
    with pytest.raises(UserError, match=r'No space left on device.*--resume'):
        toy_train(toy_config(work_dir, **{'model.buffer': 25_000, 'train_cfg.max_epochs': 9}))
    whole = sorted(work_dir.glob('*.pth'))
    assert whole and not list(work_dir.glob('*.part'))
    for path in whole:
        assert read_checkpoint(str(path))['state_dict']['filling'].shape == (25_000,)


def test_a_work_dir_without_room_is_refused_at_the_start(small_disk):
    with pytest.raises(OSError), open(small_disk / 'others', 'wb', buffering=0) as others:
        while True:
            others.write(bytes(4096))
    with pytest.raises(UserError, match=r'No space left on device.*--work-dir'):
        make_work_dir(str(small_disk / 'run'))


@pytest.mark.parametrize('folder', ['/proc/no/run', '/dev/null/run'])
def test_a_work_dir_that_cannot_be_made_is_refused_at_the_start(folder):
    with pytest.raises(UserError, match=f'work dir {folder} .*--work-dir'):
        make_work_dir(folder)


def test_a_work_dir_that_cannot_be_written_is_refused_at_the_start(small_disk):
    subprocess.run(['mount', '-o', 'remount,ro', str(small_disk)], check=True)
    with pytest.raises(UserError, match='Read-only file system'):
        make_work_dir(str(small_disk))


def test_other_errors_keep_their_traceback(tmp_path):
    with pytest.raises(FileNotFoundError), explain_failed_writes(str(tmp_path)):
        open(tmp_path / 'no' / 'file')
    with pytest.raises(PermissionError), explain_failed_writes(str(tmp_path)):
        raise PermissionError(errno.EACCES, 'Permission denied', '/elsewhere/data.jpg')


def test_a_copied_work_dir_leaves_the_best_checkpoint_of_the_original(tmp_path):
    ToyScore.count = 0
    original, copy = tmp_path / 'original', tmp_path / 'copy'
    toy_train(toy_config(original, **BEST))
    shutil.copytree(original, copy)
    resumed = {'resume': True, 'load_from': str(copy / 'epoch_3.pth'), 'train_cfg.max_epochs': 4}
    toy_train(toy_config(copy, **BEST, **resumed))
    assert 'best_acc_epoch_3.pth' in names(original)
    assert [name for name in names(copy) if 'best' in name] == ['best_acc_epoch_4.pth']
    noted = read_checkpoint(str(copy / 'epoch_4.pth'))['message_hub']['runtime_info']['best_ckpt']
    assert noted == str(copy / 'best_acc_epoch_4.pth')


def test_a_strangers_checkpoint_cannot_name_what_is_removed(tmp_path):
    ToyScore.count = 0
    dear = tmp_path / 'dear.pth'
    (tmp_path / 'folder').mkdir()
    dear.write_text('to me')
    toy_train(toy_config(tmp_path / 'run', **BEST, **ONE))
    path = tmp_path / 'theirs.pth'
    checkpoint = read_checkpoint(str(tmp_path / 'run' / 'epoch_3.pth'))
    info = checkpoint['message_hub']['runtime_info']
    info.update(best_ckpt=str(dear), keep_ckpt_ids=['/../../folder/../dear', '../x'])
    torch.save(checkpoint, path)
    resumed = {'resume': True, 'load_from': str(path), 'train_cfg.max_epochs': 5}
    tmpl = {'default_hooks.checkpoint.filename_tmpl': '{}.pth'}
    toy_train(toy_config(tmp_path / 'other', **BEST, **ONE, **tmpl, **resumed))
    assert dear.read_text() == 'to me' and (tmp_path / 'folder').is_dir()


def test_parts_of_a_killed_run_are_cleared_away(tmp_path):
    (tmp_path / 'epoch_1.pth.part').write_bytes(b'half')
    toy_train(toy_config(tmp_path))
    assert not list(tmp_path.glob('*.part'))


def test_a_folder_of_its_own_for_checkpoints_is_kept_safe_too(tmp_path, folders_at_sync):
    out_dir = {'default_hooks.checkpoint.out_dir': str(tmp_path / 'out')}
    toy_train(toy_config(tmp_path / 'run', **out_dir, **ONE))
    assert names(tmp_path / 'out' / 'run') == ['epoch_3.pth'] and len(folders_at_sync) == 3


def test_a_checkpoint_notes_processes_and_batch_size(tmp_path):
    toy_train(toy_config(tmp_path))
    meta = read_checkpoint(str(tmp_path / 'epoch_3.pth'))['meta']
    assert meta['mmela'] == {'processes': 1, 'batch_size': 4}


class Shelf(BaseStorageBackend):
    """A storage that is no disk."""

    files: ClassVar[dict] = {}

    def get(self, filepath):
        return self.files[filepath]

    get_text = get

    def put(self, obj, filepath):
        self.files[filepath] = obj

    def isfile(self, filepath):
        return filepath in self.files

    def remove(self, filepath):
        del self.files[filepath]

    def join_path(self, filepath, *others):
        return '/'.join([filepath, *others])


def test_other_storage_works_as_it_did(tmp_path):
    register_backend('shelf', Shelf, force=True)
    backend = {'default_hooks.checkpoint.backend_args': dict(backend='shelf')}
    toy_train(toy_config(tmp_path, **backend, **ONE))
    assert list(Shelf.files) == [f'{tmp_path}/epoch_3.pth']
    assert not isinstance(get_file_backend(str(tmp_path)), SafeLocalBackend)
