"""Which runs start, with what, and what their folder keeps."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from kept_results import kept_result, spec_of
from mmengine.config import Config

from mmela.analysis.compare.cell import SETTING, folder_of, run_cell
from mmela.analysis.compare.costs import record
from mmela.analysis.compare.report import write_report
from mmela.analysis.compare.schedule import results_of, run_all
from mmela.analysis.compare.spec import Spec, read_spec
from mmela.distributions import distribution_of
from mmela.engine import UserError
from mmela_cli.compare import main


def test_the_spec_and_the_environment_are_kept(tmp_path):
    file = spec_of(tmp_path)
    record(file, str(tmp_path / 'out'))
    record(str(tmp_path / 'out/spec.py'), str(tmp_path / 'out'))
    assert (tmp_path / 'out/spec.py').read_text() == open(file).read()
    kept = json.loads((tmp_path / 'out/environment.json').read_text())
    assert torch.__version__.startswith(kept['packages']['torch'])
    assert kept['processor']
    name, version = distribution_of('mmcv')
    assert kept['packages'][name] == version


def test_the_copy_of_a_spec_stands_alone(tmp_path):
    (tmp_path / 'common.py').write_text("options = {'train_cfg.max_epochs': (1, 2)}\n")
    file = Path(spec_of(tmp_path))
    file.write_text("_base_ = 'common.py'\n" + file.read_text())
    copy = record(str(file), str(tmp_path / 'out'))
    (tmp_path / 'common.py').unlink()
    assert Config.fromfile(copy).options == {'train_cfg.max_epochs': (1, 2)}
    assert list(Config.fromfile(copy).entries) == ['none', 'ELA-T']

    (tmp_path / 'common.py').write_text("options = {'max_norm': float('inf')}\n")
    with pytest.raises(UserError, match='options.*_base_'):
        record(str(file), str(tmp_path / 'out'))


def test_a_run_of_another_spec_is_not_continued(tmp_path):
    then = Spec('base.py', {'none': {}, 'ELA': {'a.b': 1}}, 'none', 'mIoU')
    folder = folder_of(tmp_path, 'ELA', 0)
    folder.mkdir(parents=True)
    (folder / SETTING).write_text(json.dumps(then.setting('ELA')))
    (folder / 'epoch_1.pth').touch()
    others = {
        'options': dict(options={'lr': 1}),
        # its weights are those that all start from
        'reference': dict(entries={**then.entries, 'none': {'a': 1}}),
    }
    for now in others.values():
        with pytest.raises(UserError, match='of another SPEC') as error:
            run_cell(replace(then, **now), 'ELA', 0, tmp_path)
        assert str(folder) in str(error.value)


def test_a_run_that_failed_before_its_first_checkpoint_starts_with_the_mended_spec(
    tiny_det, shapes_root, tmp_path
):
    options = {'data_root': str(shapes_root), 'model.no_such_option': 1}
    spec = Spec(tiny_det, {'none': {}, 'ELA': {}}, 'none', 'x', options)
    with pytest.raises(UserError, match='no_such_option'):
        run_cell(spec, 'none', 0, tmp_path)
    spec = replace(spec, options={'data_root': 'no/such/folder'})
    with pytest.raises(UserError, match='no/such/folder'):
        run_cell(spec, 'none', 0, tmp_path)


def test_a_test_without_metrics_is_refused_before_the_training(tiny_det, tmp_path):
    options = {'test_evaluator.format_only': True}
    spec = Spec(tiny_det, {'none': {}, 'ELA': {}}, 'none', 'coco/bbox_mAP', options)
    with pytest.raises(UserError, match='format_only'):
        run_cell(spec, 'none', 0, tmp_path)
    assert not list(tmp_path.rglob('*.log'))


def test_each_run_has_its_gpu_and_a_failed_one_stops_no_other(tmp_path, monkeypatch):
    """The processes are replaced: they write what they were started with, and one fails."""
    spec = Spec('base.py', {'none': {}, 'ELA': {}}, 'none', 'mIoU')
    devices = []
    start = subprocess.Popen

    def replaced(words, *, env, stdout, stderr):
        _, _, _, _, entry, seed, out = words
        devices.append(env['CUDA_VISIBLE_DEVICES'])
        code = 'import time; time.sleep(1)'
        if (entry, seed) == ('ELA', '0'):
            code = 'raise SystemExit("error: no such file")'
        elif (entry, seed) == ('ELA', '2'):
            code = 'import os; os.kill(os.getpid(), 9)'
        else:
            kept_result(spec, out, entry, int(seed))
        return start([sys.executable, '-c', code], stdout=stdout, stderr=stderr)

    monkeypatch.setattr(subprocess, 'Popen', replaced)
    said = []
    todo = [(entry, seed) for seed in range(3) for entry in spec.entries]
    progress = run_all(
        spec, 'spec.py', str(tmp_path), todo, jobs=2, gpus=['3', '5'], say=said.append
    )
    failed = [run[:2] for run in progress.failed]
    assert (progress.done, failed) == (4, [('ELA', 0), ('ELA', 2)])
    assert any(line.startswith('ELA, seed 0 failed: error: no such file; see') for line in said)
    assert any('ELA, seed 2 failed: it was ended by SIGKILL' in line for line in said)
    assert devices[:2] == ['3', '5'] and set(devices) == {'3', '5'}


@pytest.mark.parametrize(
    'words, said',
    [
        (['--gpus', '0,'], '--gpus'),
        (['--jobs', '0'], '--jobs'),
        (['--seed', '1'], '--entry'),
        (['--entry', 'none', '--seed', '1', '--speed'], '--seed'),
        (['--report-only', '--speed'], 'not allowed'),
        (['--speed', '--gpus', '0,1'], 'one id'),
    ],
)
def test_options_without_sense_are_refused(words, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([spec_of(tmp_path), '--out', str(tmp_path), *words])
    assert exit_.value.code == 2 and said in capsys.readouterr().err


def test_a_dry_run_of_one_run_trains_nothing(tmp_path, capsys):
    words = ['--entry', 'none', '--seed', '4', '--dry-run', '--out', str(tmp_path / 'out')]
    assert main([spec_of(tmp_path), *words]) == 0
    out = capsys.readouterr().out
    assert out.count('to run') == 1 and '--seed 4' in out and not (tmp_path / 'out').exists()


def test_results_of_another_spec_are_refused(tmp_path):
    then = Spec('base.py', {'none': {}, 'ELA': {'a.b': (1, 2)}}, 'none', 'mIoU')
    file = kept_result(then, tmp_path, 'ELA')
    assert results_of(then, str(tmp_path))['ELA'][0]['metric'] == 0.5
    for changes in (dict(entries={**then.entries, 'ELA': {'a.b': (1, 3)}}), dict(base='new.py')):
        now = replace(then, **changes)
        for use in (results_of, lambda *args: run_all(args[0], 'spec.py', args[1], [('ELA', 0)])):
            with pytest.raises(UserError) as error:
                use(now, str(tmp_path))
            assert str(file.parent) in str(error.value)
    with pytest.raises(UserError, match='mIoU'):
        results_of(replace(then, metric='mIuO'), str(tmp_path))


def test_a_folder_that_was_renamed_is_no_run(tmp_path):
    spec = Spec('base.py', {'none': {}, 'ELA': {}}, 'none', 'mIoU')
    file = kept_result(replace(spec, options={'lr': 1}), tmp_path, 'ELA')
    file.parent.rename(file.parent.with_name('seed0_old'))
    assert results_of(spec, str(tmp_path)) == {}
    write_report(spec, {}, 'spec.py', str(tmp_path))
    assert 'seed0_old' not in (tmp_path / 'report.md').read_text()


def test_a_dry_run_counts_the_runs_of_its_seeds(tmp_path, capsys):
    file = spec_of(tmp_path)
    kept_result(read_spec(file), tmp_path / 'out', 'none', seed=7)
    assert main([file, '--seeds', '1', '--out', str(tmp_path / 'out'), '--dry-run']) == 0
    assert '2 runs to go, about 2 min' in capsys.readouterr().out
