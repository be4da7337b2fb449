"""What a person does who reads the docs, by the blocks of the pages themselves, on tiny data."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.long

SMALL = [
    'train_dataloader.batch_size=4',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'test_dataloader.num_workers=0',
]


@pytest.fixture(scope='module')
def work(repo_root, shapes_root, tmp_path_factory):
    """Where the pages are read: a checkout, photographs, and own data in COCO format."""
    folder = tmp_path_factory.mktemp('work')
    for name in ('configs', 'tools', 'weights'):
        (folder / name).symlink_to(repo_root / name)
    images = shapes_root / 'JPEGImages'
    (folder / 'photos').mkdir()
    for name in ('val_000000.jpg', 'val_000001.jpg'):
        (folder / 'photos' / name).symlink_to(images / name)
    (folder / 'photo.jpg').symlink_to(images / 'val_000000.jpg')
    (folder / 'data/mine').mkdir(parents=True)
    (folder / 'data/shapes').symlink_to(shapes_root)
    (folder / 'data/mine/images').symlink_to(images)
    for split in ('train', 'val'):
        annotations = shapes_root / f'annotations/instances_{split}.json'
        (folder / f'data/mine/{split}.json').symlink_to(annotations)
    return folder


@pytest.fixture(scope='module')
def shell(repo_root, work):
    """Runs a line of a shell, in which `mmela` and `python` are those of the tests."""
    words = {
        'mmela': f"{sys.executable} -c 'import sys, mmela_cli; sys.exit(mmela_cli.main())'",
        'python': sys.executable,
    }
    functions = '; '.join(f'{name}() {{ {does} "$@"; }}' for name, does in words.items())

    def run(line):
        done = subprocess.run(
            ['bash', '-ec', f'{functions}\n{line}'],
            cwd=work,
            env={**os.environ, 'PYTHONPATH': f'{repo_root}:{os.environ.get("PYTHONPATH", "")}'},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f'{line}\n{done.stdout[-3000:]}{done.stderr[-3000:]}'
        return done.stdout

    return run


@pytest.fixture(scope='module')
def mmela(shell):
    return lambda *words: shell(shlex.join(['mmela', *words]))


@pytest.fixture(scope='module')
def page(trained, shell, repo_root, work):
    """Does what a page of the docs says, block by block; returns what was printed.

    The names in capitals become the network that was trained, and another.
    """
    config, checkpoint, _ = trained
    names = {
        'TWO_STAGE_CONFIG': None,
        'OTHER_CONFIG': 'configs/det/yolox/yolox_nano_shapes.py',
        'OTHER_CHECKPOINT': 'weights/yolox_nano_shapes.pth',
        'WORK_DIR/CONFIG_NAME': 'run/my_detector.py',
        'CONFIG': config,
        'CHECKPOINT': checkpoint,
    }

    def play(name, changes=None):
        text = (repo_root / 'docs' / name).read_text()
        printed = ''
        for language, block in re.findall(r'^```(\w+)\n(.*?)^```', text, re.MULTILINE | re.DOTALL):
            for old, new in {**(changes or {}), **names}.items():
                if old in block and new is None:
                    break  # what the tests do not have
                block = block.replace(old, str(new))
            else:
                file = re.match(r'# (\w+\.py)\n', block)
                if file:
                    (work / file[1]).write_text(block)
                elif language == 'python':
                    (work / 'block.py').write_text(block)
                    printed += shell('python block.py')
                else:
                    printed += shell(block)
        return printed

    return play


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
    data = 'data_root=data/shapes'
    assert 'faults: 0' in mmela('verify', str(config), '--cfg-options', data)
    start = f'load_from={repo_root}/weights/yolox_nano_shapes.pth'
    options = [*SMALL, data, start, 'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=1e-5']
    mmela('train', str(config), '--work-dir', 'run', '--cfg-options', *options)
    return str(config), 'run/epoch_1.pth', data


@pytest.mark.core
def test_from_own_data_to_a_tested_model(trained, mmela, work):
    config, checkpoint, data = trained
    mmela('test', config, checkpoint, '--work-dir', 'tested', '--cfg-options', *SMALL, data)
    assert 'coco/bbox_mAP' in json.loads((work / 'tested/metrics.json').read_text())


@pytest.mark.core
def test_a_picture_and_its_numbers(page, work):
    out = page('predict.md')
    found = json.loads((work / 'predictions.json').read_text())
    assert [result['image'] for result in found] == [
        'photos/val_000000.jpg',
        'photos/val_000001.jpg',
    ]
    assert found[0]['boxes'] and found[0]['boxes'][0]['class'] in out
    assert repr(found[1]['boxes']) in out  # from Python
    for result in found:
        drawn = cv2.imread(str(work / result['drawn'])).astype(int)
        assert np.abs(drawn - cv2.imread(str(work / result['image']))).max() > 50
        assert (work / 'drawn/vis' / Path(result['image']).name).is_file()  # by DetInferencer


@pytest.mark.core
def test_attention_maps_and_cams_side_by_side(page, work):
    pytest.importorskip('pytorch_grad_cam', reason='grad-cam is not installed')
    out = page('look.md')
    gates, cams = (
        cv2.imread(str(work / name)).shape for name in ('look/val_000000.png', 'cams/photo.png')
    )
    assert gates[0] > cams[0]  # four layers, one below the other; two maps, side by side
    assert out.count('"share"') == 2  # the pointing score of both networks


@pytest.mark.core
def test_an_onnx_file_that_agrees(page):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    out = page('export.md')
    assert out.count('differ by') == 3 and '"image": "photo.jpg"' in out


def test_own_data_to_the_latex_table(page, work):
    page(
        'compare.md',
        {
            "('cat', 'dog', 'bird')": "('disc', 'square', 'triangle')",
            "'train_cfg.max_epochs': 36, 'train_cfg.val_interval': 6": "'train_cfg.max_epochs': 1",
            '--seeds 5': '--seeds 2',
            "    'ELA-T': {},\n": '',
        },
    )
    table = (work / 'work_dirs/compare/report.tex').read_text()
    assert table.count('\\\\') == 3 and '\nELA-T residual & 2 &' in table
    report = (work / 'work_dirs/compare/report.md').read_text()
    assert report.count('--out again`') == 4


def test_attention_in_a_network_by_its_name(page, work):
    out = page('attend.md')
    written = re.sub(r'\n *', ' ', (work / 'my_hrnet.py').read_text())
    shown = Path(__file__).parents[1].joinpath('docs/attend.md').read_text()
    for line in out.splitlines():
        assert not line.startswith('#') or line in shown or 'written to' in line
    (block,) = re.findall(r'```python\n(_base_.*?)```', shown, re.DOTALL)
    assert written == re.sub(r'\n *', ' ', block)


@pytest.mark.core
def test_a_layer_of_your_own(page, work):
    page('own_layer.md')
    code = (
        'from mmengine.config import Config\n'
        'from mmengine.registry import MODELS, init_default_scope\n'
        "cfg = Config.fromfile('my_config.py')\n"
        "init_default_scope('mmdet')\n"
        'network = MODELS.build(cfg.model)\n'
        "print(sum(type(m).__name__ == 'SimAM' for m in network.modules()))\n"
        'import my_attention\n'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=work, capture_output=True, text=True)
    assert done.stdout.split()[-1:] == ['13'], done.stderr


@pytest.mark.core
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


@pytest.mark.core
def test_the_doctor_finds_nothing_wrong(mmela):
    assert 'PROBLEM' not in mmela('doctor')


@pytest.mark.core
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
