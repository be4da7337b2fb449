"""A file that cannot be read during a run: one sentence with file and index, exit status 2."""

import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from mmengine.dataset import BaseDataset

from mmela.engine.data.broken_samples import BrokenSampleError, name_broken_files

DAMAGE = {
    'empty': (lambda file: file.write_bytes(b''), 'is empty (0 bytes)'),
    'truncated': (
        lambda file: file.write_bytes(file.read_bytes()[:-30]),
        'is truncated or damaged',
    ),
    'no image': (
        lambda file: file.write_text('<html>404'),
        "is not an image (it begins with b'<html>",
    ),
    'missing': (lambda file: file.unlink(), 'does not exist'),
}
TASKS = {
    'det image': ('tiny_det', 'JPEGImages/{}.jpg', 'image'),
    'seg image': ('tiny_seg', 'JPEGImages/{}.jpg', 'image'),
    'seg mask': ('tiny_seg', 'SegmentationClass/{}.png', 'mask'),
}


def run(tool, request, shapes, name, *options, split='train'):
    """Trains or tests without looking at the data before; returns the message."""
    config = request.getfixturevalue(name)
    work_dir = shapes.parent / 'run'
    words = ['--no-data-check', '--work-dir', work_dir, '--cfg-options', f'data_root={shapes}/']
    if split == 'test':
        checkpoint = next(work_dir.glob('*.pth'))
        status, err = tool('test.py', config, checkpoint, *words, *options)
    else:
        status, err = tool('train.py', config, *words, *options)
    return status, err[err.index('error: ') :] if 'error: ' in err else err


RUNS = [('det image', kind) for kind in ('empty', 'missing')] + [('seg mask', k) for k in DAMAGE]


LONG = (pytest.mark.long, pytest.mark.core)


@pytest.mark.parametrize(
    ('task', 'kind'),
    [
        pytest.param(
            task, kind, marks=LONG if task.startswith('seg') and kind != 'truncated' else ()
        )
        for task, kind in [*RUNS, ('seg image', 'missing')]
    ],
)
def test_in_training(task, kind, tool, request, shapes, monkeypatch):
    monkeypatch.chdir(shapes.parent)
    name, path, what = TASKS[task]
    (damage, told), file = DAMAGE[kind], shapes / path.format('train_000001')
    damage(file)
    status, message = run(tool, request, shapes, name)
    assert status == 2 and 'Traceback' not in message and len(message.splitlines()) == 1
    assert f'the {what} {file} (sample 1 of the ' in message and told in message


@pytest.mark.parametrize(
    'task',
    [
        pytest.param('det image', marks=pytest.mark.long),
        pytest.param('seg mask', marks=pytest.mark.long),
    ],
)
def test_in_validation_and_test_and_with_workers(task, tool, request, shapes, monkeypatch):
    monkeypatch.chdir(shapes.parent)
    name, path, what = TASKS[task]
    train, val = (shapes / path.format(f'{split}_000001') for split in ('train', 'val'))
    damage, told = DAMAGE['empty']
    damage(val)
    options = ['train_cfg.val_interval=1', 'val_dataloader.num_workers=1']
    status, message = run(tool, request, shapes, name, *options)
    assert status == 2 and f'the {what} {val} (sample 1 of' in message and told in message
    for workers in (0, 1):
        options = [f'test_dataloader.num_workers={workers}']
        status, message = run(tool, request, shapes, name, *options, split='test')
        assert status == 2 and f'the {what} {val} (sample 1 of' in message
    damage(train)
    status, message = run(tool, request, shapes, name, 'train_dataloader.num_workers=2')
    assert status == 2 and 'Traceback' not in message and len(message.splitlines()) == 1
    assert f'the {what} {train} (sample 1 of' in message and told in message


@pytest.mark.long
@pytest.mark.core
def test_below_wrappers(tool, request, shapes, monkeypatch):
    """The data set of mosaic and mixup lies below another one."""
    monkeypatch.chdir(shapes.parent)
    file = shapes / 'JPEGImages/train_000003.jpg'
    DAMAGE['no image'][0](file)
    wrapped = shapes.parent / 'wrapped.py'
    wrapped.write_text(
        f'_base_ = {request.getfixturevalue("tiny_det")!r}\n'
        'leaf = {{_base_.train_dataloader.dataset}}\n'
        "train_dataloader = dict(dataset=dict(_delete_=True, type='MultiImageMixDataset',\n"
        "    dataset=dict(type='RepeatDataset', times=2, dataset=leaf), pipeline=[]))\n"
    )
    options = ['--no-data-check', '--cfg-options', f'data_root={shapes}/']
    status, err = tool('train.py', wrapped, *options)
    assert status == 2 and f'the image {file} (sample 3 of the CocoDataset)' in err


def test_a_mistake_in_a_transform_keeps_its_traceback(tool, request, shapes, monkeypatch):
    monkeypatch.chdir(shapes.parent)
    options = ["train_dataloader.dataset.pipeline.2.scale=('a','b')"]
    with pytest.raises(Exception, match='^(?!.*cannot be read)'):
        run(tool, request, shapes, 'tiny_det', *options)


@pytest.mark.parametrize('of', ['dataset', 'pipeline.0'])
def test_a_mistake_beside_another_backend_keeps_its_traceback(of):
    """The paths are keys of a database there, and no file of that name has to exist."""
    sample = dict(img_path='key of a database')
    backend = dict(backend='lmdb', db_path='x')

    class Reader:
        backend_args = backend if of == 'pipeline.0' else None

        def __call__(self, results):
            raise ValueError('a mistake in a transform')

    dataset = BaseDataset(lazy_init=True, serialize_data=False, pipeline=[Reader()])
    dataset.data_list, dataset._fully_initialized = [sample], True
    dataset.backend_args = backend if of == 'dataset' else None
    name_broken_files(dataset)
    with pytest.raises(ValueError, match='a mistake in a transform'):
        dataset.prepare_data(0)
    dataset.backend_args = Reader.backend_args = None
    with pytest.raises(BrokenSampleError, match='does not exist'):
        dataset.prepare_data(0)


def test_in_classification(tool, tmp_path, repo_root, monkeypatch):
    pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'val'):
        for index, name in enumerate(('a', 'b', 'c')):
            folder = tmp_path / 'colours' / split / name
            folder.mkdir(parents=True)
            for number in range(2):
                cv2.imwrite(str(folder / f'{number}.png'), np.full((32, 32), 80 * index, 'uint8'))
    file = tmp_path / 'colours/train/b/1.png'
    config = repo_root / 'tests/test_engine/configs/tiny_cls.py'
    for kind, (damage, told) in DAMAGE.items():
        shutil.copy(file.with_name('0.png'), file)
        damage(file)
        if kind == 'missing':
            continue  # MMPreTrain lists the folder: it is no sample then
        options = ['--no-data-check', '--cfg-options', f'data_root={tmp_path}/colours/']
        status, err = tool('train.py', config, *options)
        assert status == 2 and f'the image {file} (sample 3 of the CustomDataset)' in err
        assert told in err


@pytest.mark.long
@pytest.mark.core
@pytest.mark.parametrize('rank', [0, 1])
def test_in_two_processes_both_end(rank, tiny_det, shapes, repo_root, tmp_path):
    """One process reports the file that it cannot read, and the launcher ends the other."""
    for file in (shapes / 'JPEGImages').glob('train*.jpg'):
        if int(file.stem[-1]) % 2 == rank:
            file.write_bytes(b'')
    done = subprocess.run(
        ['torchrun', '--standalone', '--nproc_per_node=2', repo_root / 'tools/train.py',
         tiny_det, '--launcher', 'pytorch', '--no-data-check', '--work-dir', tmp_path / 'run',
         '--cfg-options', f'data_root={shapes}/', 'train_dataloader.sampler.shuffle=False'],
        cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=150,
        env={**os.environ, 'PYTHONPATH': str(repo_root), 'OMP_NUM_THREADS': '1',
             'PATH': f'{sys.prefix}/bin:{os.environ["PATH"]}'},
    )  # fmt: skip
    assert done.returncode != 0
    assert f'error: the image {shapes}/JPEGImages/train_00000' in done.stdout
    assert 'is empty (0 bytes)' in done.stdout
