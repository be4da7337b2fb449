"""Runs of a comparison: paired to the bit, never twice, and resumed after a kill."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mmela.analysis.compare.cell import RESULT, folder_of
from mmela.analysis.compare.schedule import results_of
from mmela.analysis.compare.spec import read_spec

pytestmark = [pytest.mark.long, pytest.mark.core]


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
