"""Runs of a comparison: equal where the networks are, never repeated, and resumed after a kill."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmela.analysis.compare.cell import RESULT, folder_of, run_cell
from mmela.analysis.compare.schedule import results_of
from mmela.analysis.compare.spec import Spec, read_spec

pytestmark = pytest.mark.long


@pytest.fixture
def spec_file(repo_root, shapes_root, tmp_path):
    """Without ELA, and with an ELA that is frozen as the identity."""
    file = tmp_path / 'spec.py'
    file.write_text(
        f"base = '{repo_root}/configs/seg/deeplabv3/deeplabv3_r18-ela-b_shapes.py'\n"
        f"options = {{'data_root': '{shapes_root}', 'load_from': None,\n"
        "           'train_cfg.max_iters': 6, 'train_cfg.val_interval': 3,\n"
        "           'default_hooks.logger.interval': 1, 'default_hooks.checkpoint.interval': 2,\n"
        "           'train_dataloader.num_workers': 0, 'val_dataloader.num_workers': 0,\n"
        "           'test_dataloader.num_workers': 0, 'train_dataloader.batch_size': 2}\n"
        "metric = 'mIoU'\n"
        'entries = {\n'
        "    'none': {'model.backbone.plugins': None},\n"
        "    'frozen': {'model.backbone.plugins.0.cfg.residual': 'scaled',\n"
        "               'optim_wrapper.paramwise_cfg.custom_keys.ela': dict(lr_mult=0.0,\n"
        '                                                                  decay_mult=0.0)},\n'
        '}\n'
    )
    return str(file)


@pytest.fixture
def start(repo_root, tmp_path):
    def start(*words):
        code = 'import sys, mmela_cli; sys.exit(mmela_cli.main())'
        return subprocess.Popen(
            [sys.executable, '-c', code, 'compare', *words],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(repo_root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


def losses(folder):
    rows = [
        json.loads(line)
        for log in sorted(folder.glob('*/vis_data/scalars.json'))
        for line in log.read_text().splitlines()
    ]
    return {row['step']: row['loss'] for row in rows if 'loss' in row}


@pytest.mark.core
def test_an_identity_more_changes_no_loss_and_no_run_is_repeated(spec_file, start, tmp_path):
    process = start(spec_file, '--seeds', '1', '--out', 'out')
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    plain, frozen = (losses(folder_of(tmp_path / 'out', e, 0)) for e in ('none', 'frozen'))
    assert len(plain) == 6 and plain == frozen
    found = results_of(read_spec(spec_file), str(tmp_path / 'out'))
    assert found['none'][0]['metric'] == found['frozen'][0]['metric']

    before = {p: p.stat().st_mtime_ns for p in (tmp_path / 'out').rglob(RESULT)}
    process = start(spec_file, '--seeds', '1', '--out', 'out')
    again, _ = process.communicate(timeout=600)
    assert '2 of 2 runs done' in again
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / 'out').rglob(RESULT)}
    assert 'none' in (tmp_path / 'out/report.md').read_text()

    one = start(spec_file, '--entry', 'none', '--seed', '0', '--out', 'again')
    alone, _ = one.communicate(timeout=600)
    assert f'{found["none"][0]["metric"]:.6g}' in alone  # the command of a cell gives its number


def is_locked(folder):
    with open(folder / 'lock') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def wait_for_new(folder, pattern):
    before, until = set(folder.glob(pattern)), time.time() + 300
    while not set(folder.glob(pattern)) - before:
        assert time.time() < until
        time.sleep(0.05)


def test_no_two_processes_work_on_a_run(spec_file, start, tmp_path):
    longer = Path(spec_file)
    longer.write_text(longer.read_text().replace("max_iters': 6", "max_iters': 50"))
    folder = folder_of(tmp_path / 'out', 'none', 0)

    process = start(spec_file, '--seeds', '1', '--out', 'out')
    wait_for_new(folder, 'iter_*.pth')
    process.terminate()
    assert process.wait(timeout=100) == 128 + signal.SIGTERM
    assert not is_locked(folder) and 'SIGTERM: training ended' in (folder / 'run.log').read_text()

    process = start(spec_file, '--seeds', '1', '--out', 'out')
    wait_for_new(folder, 'iter_*.pth')
    process.kill()  # of the parent alone: the run goes on
    process.wait()
    assert is_locked(folder)
    process = start(spec_file, '--entry', 'none', '--seed', '0', '--out', 'out')
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    result = json.loads((folder / RESULT).read_text())
    assert 'waiting for it' in out and f'{result["metric"]:.6g}' in out
    logs = [log.read_text() for log in folder.glob('*/vis_data/scalars.json')]
    steps = [json.loads(line)['step'] for log in logs for line in log.splitlines() if 'lr' in line]
    assert sorted(steps) == list(range(1, 51))


def test_a_misspelt_metric_stops_after_the_first_run(spec_file, start, tmp_path):
    file = Path(spec_file)
    file.write_text(file.read_text().replace("'mIoU'", "'mIuO'"))
    process = start(spec_file, '--seeds', '3', '--out', 'out')
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 2 and 'no such metric' in out
    assert [p.parent.name for p in (tmp_path / 'out').rglob('last_checkpoint')] == ['seed0']
    said = (folder_of(tmp_path / 'out', 'none', 0) / 'run.log').read_text()
    assert "got 'mIuO'; did you mean 'mIoU'?" in said

    file.write_text(file.read_text().replace("'mIuO'", "'mIoU'"))
    folder = folder_of(tmp_path / 'out', 'none', 0)
    trained = losses(folder), (folder / 'last_checkpoint').stat().st_mtime_ns
    process = start(str(file), '--seeds', '1', '--entry', 'none', '--out', 'out')
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0 and (folder / RESULT).is_file(), out
    assert (losses(folder), (folder / 'last_checkpoint').stat().st_mtime_ns) == trained


@pytest.mark.core
def test_a_detector_that_finds_no_box_has_a_metric_of_zero(tiny_det, shapes_root, tmp_path):
    options = {
        'data_root': str(shapes_root),
        'load_from': None,
        'train_cfg.max_epochs': 1,
        'model.test_cfg.score_thr': 1.1,
    }
    spec = Spec(tiny_det, {'none': {}, 'ELA': {}}, 'none', 'coco/bbox_mAP', options)
    assert run_cell(spec, 'none', 0, tmp_path)['metric'] == 0.0
    assert results_of(spec, str(tmp_path))['none'][0]['metric'] == 0.0


def test_after_a_kill_it_goes_on_from_the_last_checkpoint(spec_file, start, tmp_path):
    process = start(spec_file, '--seeds', '1', '--out', 'out')
    folder = folder_of(tmp_path / 'out', 'none', 0)
    until = time.time() + 300
    while not list(folder.glob('iter_*.pth')) and time.time() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / RESULT).exists()
    process = start(spec_file, '--seeds', '1', '--out', 'out')
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    assert 'seed0/iter_' in (folder / 'run.log').read_text().partition('continues from ')[2]
    assert losses(folder) == losses(folder_of(tmp_path / 'out', 'frozen', 0))
