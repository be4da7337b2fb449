"""The command lines: user errors, and whole runs in detection and segmentation."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmela.engine import load_config, train

ERRORS = {
    'no config': (['nope.py'], 'there is no config file nope.py'),
    'no data': (['{det}'], 'shapes.py data/shapes'),
    'option without value': (['{det}', '--cfg-options', 'a.b'], "got 'a.b', which has no '='"),
    'checkpoint to resume': (['{det}', '{data}', '--resume', 'no.pth'], 'there is no file no.pth'),
    'weights': (['{det}', '{data}', 'load_from=no.pth'], 'load_from: there is no file no.pth'),
    'batch size unknown': (['{seg}', '--auto-scale-lr'], 'auto_scale_lr.base_batch_size=N'),
    'not under torchrun': (['{det}', '{data}', '--launcher', 'pytorch'], 'tools/dist_train.sh'),
    'type': (['{seg}', '{data}', 'model.decode_head.type=FCNHeat'], "did you mean 'FCNHead'?"),
    'argument': (['{det}', '{data}', 'model.neck.colour=red'], "argument 'colour'"),
    'plugin': (['{seg}', '{data}', '{plugin}.cfg.variant=X'], 'T, B, S, L'),
}


def expand(words, det, seg, root):
    """Fills in the paths; bare settings become one ``--cfg-options``."""
    words = [
        word.format(det=det, seg=seg, data=f'data_root={root}', plugin='model.backbone.plugins.0')
        for word in words
    ]
    settings = [word for word in words if '=' in word]
    others = [word for word in words if '=' not in word]
    return [*others, *(['--cfg-options', *settings] if settings else [])]


@pytest.mark.parametrize(('words', 'fix'), ERRORS.values(), ids=ERRORS)
def test_a_user_error_is_a_message_and_status_2(
    words, fix, tool, tiny_det, tiny_seg, shapes_root, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for variable in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR'):
        monkeypatch.delenv(variable, raising=False)
    status, err = tool('train.py', *expand(words, tiny_det, tiny_seg, shapes_root))
    message = err[err.index('error: ') :]
    assert status == 2
    assert fix in message
    assert 'Traceback' not in err


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_mixed_precision_on_a_cpu_is_a_user_error(
    tool, tiny_det, shapes_root, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    options = ['--cfg-options', f'data_root={shapes_root}']
    status, err = tool('train.py', tiny_det, '--amp', *options)
    assert status == 2 and 'needs a GPU' in err


def test_a_missing_checkpoint_of_a_test_is_a_user_error(tool, tiny_det, shapes_root):
    status, err = tool('test.py', tiny_det, 'no.pth', '--cfg-options', f'data_root={shapes_root}')
    assert status == 2 and 'error: the checkpoint: there is no file no.pth' in err


@pytest.mark.parametrize(
    ('name', 'flags'),
    [
        (
            'train.py',
            '--work-dir --amp --auto-scale-lr --resume --cfg-options --launcher --local-rank',
        ),
        (
            'test.py',
            '--work-dir --out --show --show-dir --wait-time --tta --cfg-options --launcher '
            '--local-rank',
        ),
    ],
)
def test_the_tools_take_the_flags_of_both_toolboxes(name, flags, tool, capsys, monkeypatch):
    from importlib.util import find_spec
    from pathlib import Path

    ours = set(flags.split())
    for package in ('mmdet', 'mmseg'):
        script = Path(find_spec(package).origin).parent / '.mim' / 'tools' / name
        theirs = set(re.findall(r"'(--[a-z-]+)'", script.read_text()))
        assert theirs <= ours | {'--local_rank'}
    monkeypatch.setattr('sys.stderr', sys.stdout)
    assert tool(name, '--help')[0] == 0


def test_a_tool_without_mmela_says_how_to_install_it(repo_root, tmp_path):
    # -S leaves out site-packages, and so whatever is installed there.
    for name, rest in (('train.py', ['c.py']), ('test.py', ['c.py', 'c.pth'])):
        done = subprocess.run(
            [sys.executable, '-S', '-E', str(repo_root / 'tools' / name), *rest],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert done.stderr.startswith('error: mmela cannot be imported')
        assert 'pip install -e' in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ('name', 'words'), [('dist_train.sh', ['c.py']), ('dist_test.sh', ['c.py', 'x.pth'])]
)
def test_an_invalid_number_of_gpus_is_a_user_error(name, words, repo_root):
    for gpus in ('--amp', '0', '2.5'):
        command = ['bash', str(repo_root / 'tools' / name), *words, gpus]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert 'usage: ' in done.stderr and 'GPUS is a whole number' in done.stderr


@pytest.fixture(scope='module')
def plain_weights(tiny_det, tmp_path_factory):
    """A checkpoint of the detector of ``tiny_det`` without its attention."""
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules()
    cfg = load_config(tiny_det, ['model.backbone.plugins=None'])
    path = tmp_path_factory.mktemp('weights') / 'plain.pth'
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), path)
    return path, len(model.state_dict())


def test_a_detector_gets_attention_is_trained_and_tested(
    tool, tiny_det, shapes_root, plain_weights, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    weights, tensors = plain_weights
    data = f'data_root={shapes_root}'
    assert tool('train.py', tiny_det, '--cfg-options', data, f'load_from={weights}')[0] == 0
    log, work_dir = tool.stdout, tmp_path / 'work_dirs' / 'tiny_det'
    assert f'{tensors} tensors loaded' in log
    # Three layers of ELA with residual='scaled': conv.weight, gn.weight, gn.bias, scale.
    assert '12 new, all of the attention (ela): backbone.stage2.ela.*' in log
    assert 'UNTRAINED' not in log and ' unexpected, ' not in log
    assert (work_dir / 'epoch_1.pth').is_file()

    options = ('--out', 'boxes.pkl', '--show-dir', tmp_path / 'images', '--tta', '--cfg-options')
    settings = (data, 'model.test_cfg.score_thr=0.0')
    assert tool('test.py', tiny_det, work_dir / 'epoch_1.pth', *options, *settings)[0] == 0
    log = tool.stdout
    assert f'{tensors + 12} tensors loaded, every one' in log
    metrics = json.loads((work_dir / 'metrics.json').read_text())
    assert {'coco/bbox_mAP', 'coco/bbox_mAP_50'} <= set(metrics)
    assert all(isinstance(value, float) for value in metrics.values())
    assert '│ coco/bbox_mAP ' in log or '| coco/bbox_mAP ' in log
    assert (tmp_path / 'boxes.pkl').is_file()
    assert len(list((tmp_path / 'images').glob('*.jpg'))) == 4


@pytest.fixture(scope='module')
def one_process(tiny_seg_losses, shapes_root, tmp_path_factory):
    """A segmenter trained for an epoch by one process, batch 4; its folder."""
    folder = tmp_path_factory.mktemp('one')
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(tiny_seg_losses).parent)  # where its hook is
        train(load_config(tiny_seg_losses, [f'data_root={shapes_root}'], str(folder / 'run')))
    return folder


def losses(work_dir):
    """The losses that the processes of a run wrote down: one list a process."""
    return [json.loads(file.read_text()) for file in sorted(work_dir.glob('loss_*.json'))]


@pytest.mark.long
@pytest.mark.core
def test_two_processes_have_the_mean_loss_of_one(
    run_command, repo_root, tiny_seg_losses, shapes_root, one_process, tmp_path
):
    log = run_command(
        *(repo_root / 'tools' / 'dist_train.sh', tiny_seg_losses, 2, '--work-dir', 'run'),
        *('--cfg-options', f'data_root={shapes_root}', 'train_dataloader.batch_size=2'),
        cwd=tmp_path,
    )
    (alone,) = losses(one_process / 'run')
    together = losses(tmp_path / 'run')
    assert len(together) == 2 and len(alone) == 2
    means = [sum(step) / 2 for step in zip(*together, strict=True)]
    # The second step also shows that both made the same update.
    assert means == pytest.approx(alone, rel=0, abs=1e-5)
    assert 'connected by gloo' in log


def test_a_segmenter_is_resumed_and_tested(tool, tiny_seg, shapes_root, one_process, monkeypatch):
    monkeypatch.chdir(one_process)
    data = f'data_root={shapes_root}'
    options = ('--resume', '--cfg-options', data, 'train_cfg.max_epochs=2')
    assert tool('train.py', tiny_seg, '--work-dir', 'run', *options)[0] == 0
    log = tool.stdout
    assert re.search(r'epoch_1\.pth \(resumed\) -> the network: \d+ tensors loaded, every', log)
    assert 'Epoch(train) [2][2/2]' in log and 'Epoch(train) [1]' not in log

    options = ('--out', 'maps', '--cfg-options', data)
    assert tool('test.py', tiny_seg, 'run/epoch_2.pth', '--work-dir', 'tested', *options)[0] == 0
    metrics = json.loads(Path('tested/metrics.json').read_text())
    assert set(metrics) == {'aAcc', 'mIoU', 'mAcc'}
    assert f'{metrics["mIoU"]:.4f}' in tool.stdout
    assert len(list(Path('maps').glob('*.png'))) == 4


@pytest.mark.long
@pytest.mark.core
def test_a_user_error_of_several_processes_is_one_message(
    repo_root, tiny_seg, tmp_path, run_command
):
    with pytest.raises(AssertionError) as failed:
        run_command(repo_root / 'tools' / 'dist_train.sh', tiny_seg, 2, cwd=tmp_path)
    log = str(failed.value)
    assert log.count('error: the config needs data that is not there') == 1
    assert 'Traceback (most recent call last)' not in log
