"""What a person does after reading the docs, by the commands that they type, on a tiny data set."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytestmark = [pytest.mark.long, pytest.mark.core]

SMALL = [
    'train_dataloader.batch_size=4',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'test_dataloader.num_workers=0',
]


@pytest.fixture(scope='module')
def work(tmp_path_factory):
    return tmp_path_factory.mktemp('work')


@pytest.fixture(scope='module')
def mmela(repo_root, work):
    """Runs `mmela WORDS` in a process of its own; returns its output, fails if the command does."""

    def run(*words):
        done = subprocess.run(
            [sys.executable, '-c', 'import sys, mmela_cli; sys.exit(mmela_cli.main())', *words],
            cwd=work,
            env={**os.environ, 'PYTHONPATH': f'{repo_root}:{os.environ.get("PYTHONPATH", "")}'},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f'{words}\n{done.stdout[-3000:]}{done.stderr[-3000:]}'
        return done.stdout

    return run


@pytest.fixture(scope='module')
def trained(mmela, repo_root, shapes_root, work):
    """Own data in COCO format: the pattern, trained for an epoch. Config and checkpoint."""
    config = work / 'my_detector.py'
    config.write_text(
        f"_base_ = '{repo_root}/configs/det/yolox/yolox_nano_shapes.py'\n"
        "model = dict(backbone=dict(type='mmela.CSPDarknet', plugins=[\n"
        "    dict(cfg=dict(type='mmela.ELA', variant='T', residual='scaled'),\n"
        "         position='after_stage')]))\n"
    )
    data = f'data_root={shapes_root}'
    assert 'faults: 0' in mmela('verify', str(config), '--cfg-options', data)
    start = f'load_from={repo_root}/weights/yolox_nano_shapes.pth'
    options = [*SMALL, data, start, 'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=1e-5']
    mmela('train', str(config), '--work-dir', 'run', '--cfg-options', *options)
    return str(config), 'run/epoch_1.pth', data


def test_from_own_data_to_a_tested_model(trained, mmela, work):
    config, checkpoint, data = trained
    mmela('test', config, checkpoint, '--work-dir', 'tested', '--cfg-options', *SMALL, data)
    assert 'coco/bbox_mAP' in json.loads((work / 'tested/metrics.json').read_text())


def test_a_picture_and_its_numbers(repo_root, shapes_root, mmela, work):
    config = str(repo_root / 'configs/det/yolox/yolox_nano_shapes.py')
    weights = str(repo_root / 'weights/yolox_nano_shapes.pth')
    image = str(sorted((shapes_root / 'JPEGImages').glob('val_*.jpg'))[0])
    out = mmela(
        'predict', config, weights, image, '--out', 'drawn', '--json', 'boxes.json',
        '--cfg-options', f'data_root={shapes_root}',
    )  # fmt: skip
    (result,) = json.loads((work / 'boxes.json').read_text())
    assert result['boxes'] and result['boxes'][0]['class'] in out
    difference = cv2.imread(str(work / result['drawn'])).astype(int) - cv2.imread(image)
    assert np.abs(difference).max() > 50  # something was drawn


def test_attention_maps_and_cams_side_by_side(trained, repo_root, shapes_root, mmela, work):
    pytest.importorskip('pytorch_grad_cam', reason='grad-cam is not installed')
    config, checkpoint, data = trained
    image = str(sorted((shapes_root / 'JPEGImages').glob('val_*.jpg'))[0])
    other = [
        str(repo_root / 'configs/det/yolox/yolox_nano_shapes.py'),
        str(repo_root / 'weights/yolox_nano_shapes.pth'),
    ]
    (path,) = mmela(
        'look', config, checkpoint, image, '--out', 'gates', '--cfg-options', data
    ).split()[-1:]
    assert cv2.imread(str(work / path)) is not None
    (path,) = mmela(
        'look', *other, image, '--cam', 'layercam', '--out', 'cams',
        '--compare', config, checkpoint, '--cfg-options', data,
    ).split()[-1:]  # fmt: skip
    one, beside = (cv2.imread(str(work / p)).shape for p in ('gates/val_000000.png', path))
    assert one[0] > beside[0]  # four layers, one below the other; two maps, side by side


def test_an_onnx_file_that_agrees(trained, repo_root, shapes_root, mmela, work):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    config, checkpoint, data = trained
    out = mmela(
        'export', config, checkpoint, '--out', 'model.onnx', '--dynamic', '--cfg-options', data
    )
    assert out.count('differ by') == 3
    image = str(sorted((shapes_root / 'JPEGImages').glob('val_*.jpg'))[0])
    tool = str(repo_root / 'tools/deployment/run_onnx.py')
    done = subprocess.run(
        [sys.executable, tool, 'model.onnx', image, '--score-thr', '0.01'],
        cwd=work, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(done.stdout)[0]['image'] == image, done.stderr


def test_attend_on_someones_hrnet_to_a_training(repo_root, shapes_root, mmela, work):
    base = work / 'theirs.py'
    base.write_text(
        f"_base_ = '{repo_root}/configs/det/yolox/yolox_nano_shapes.py'\n"
        'branches = {f"stage{n}": dict(num_modules=1, num_branches=n, num_blocks=(1,) * n,\n'
        '                              block="BASIC" if n > 1 else "BOTTLENECK",\n'
        '                              num_channels=(8, 16, 32, 64)[:n]) for n in (1, 2, 3, 4)}\n'
        "model = dict(backbone=dict(_delete_=True, type='HRNet', extra=branches),\n"
        "             neck=dict(_delete_=True, type='FPN', in_channels=[8, 16, 32, 64],\n"
        '                       out_channels=16, start_level=1, num_outs=3),\n'
        '             bbox_head=dict(in_channels=16, feat_channels=16))\n'
    )
    listed = mmela('attend', str(base), '--list', '--where', 'backbone')
    assert listed.startswith('outputs')
    out = mmela('attend', str(base), '--residual', 'scaled', '--out', 'mine.py')
    assert '4 layers' in out
    text = (work / 'mine.py').read_text()
    assert "_base_ = 'theirs.py'" in text and "network='HRNet'" in text
    options = [*SMALL, f'data_root={shapes_root}', 'load_from=None', 'train_cfg.max_epochs=1']
    mmela('train', 'mine.py', '--work-dir', 'hrnet', '--cfg-options', *options)
    assert (work / 'hrnet/epoch_1.pth').is_file()


def test_the_doctor_finds_nothing_wrong(mmela):
    assert 'PROBLEM' not in mmela('doctor')


def test_help_is_immediate(repo_root):
    """It imports neither torch nor anything beside the standard library."""
    code = (
        'import sys, mmela_cli; mmela_cli.main(["--help"]); '
        'print(sorted({"torch", "mmengine", "numpy", "mmela"} & set(sys.modules)))'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=repo_root, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == '[]' and 'predict' in done.stdout
