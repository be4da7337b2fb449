"""Training with attention on the device of this machine: a GPU where there is one, else the CPU.

tools/analysis_tools/measure_gpu.sh runs these on a GPU.
"""

import json
import os
import subprocess
import sys

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmela.engine import load_config

pytestmark = pytest.mark.long
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
BASE = 'configs/det/yolox/yolox_nano-ela-t_shapes.py'
AMP = [
    pytest.param(
        ['--amp', '--cfg-options', f'optim_wrapper.dtype={dtype}'],
        id=dtype,
        marks=pytest.mark.skipif(DEVICE == 'cpu', reason='MMEngine has mixed precision on GPUs'),
    )
    for dtype in ('float16', 'bfloat16')
]


@pytest.fixture
def config(repo_root, tmp_path):
    """The demo's detector; on a GPU with the kernels, and torchvision's NMS if need be."""
    file = tmp_path / 'detector.py'
    text = f"_base_ = '{repo_root / BASE}'\n"
    if DEVICE == 'cuda':
        text += (
            "custom_imports = dict(imports=['benchmarks.torchvision_nms'])\n"
            "model = {'backbone': {'plugins': [dict(position='after_stage', "
            'stages=(False, True, True, True), '
            "cfg=dict(type='mmela.ELA', variant='T', residual='scaled', fused=True))]}}\n"
        )
    file.write_text(text)
    return str(file)


@pytest.fixture
def environment(repo_root):
    """This checkout, and the tests' Python before others."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']])
    packages = os.pathsep.join([str(repo_root), os.environ.get('PYTHONPATH', '')])
    return {**os.environ, 'PATH': path, 'PYTHONPATH': packages, 'PYTHON': sys.executable}


def losses(folder):
    (log,) = folder.glob('*/vis_data/scalars.json')
    rows = map(json.loads, log.read_text().splitlines())
    return [row['loss'] for row in rows if 'loss' in row]


@pytest.mark.parametrize('amp', [pytest.param(['--cfg-options'], id='float32'), *AMP])
def test_the_loss_is_finite_and_falls_in_50_iterations(
    amp, config, environment, repo_root, shapes_root, tmp_path
):
    options = [
        f'data_root={shapes_root}', 'train_cfg.max_epochs=25', 'train_cfg.val_interval=25',
        'train_dataloader.batch_size=4', 'default_hooks.logger.interval=1',
    ]  # fmt: skip
    command = ['tools/train.py', config, '--work-dir', str(tmp_path), *amp, *options]
    done = subprocess.run(
        [sys.executable, *command], cwd=repo_root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = losses(tmp_path)
    assert len(found) == 50 and all(map(torch.isfinite, torch.tensor(found)))
    assert sum(found[-10:]) < sum(found[:10])


def test_two_processes_train_on_one_device(
    config, environment, repo_root, shapes_root, tmp_path, free_port
):
    """As two machines of one process each: the processes of one machine take a GPU each.

    With gloo, since NCCL takes one process for each GPU.
    """
    options = [
        f'data_root={shapes_root}', 'env_cfg.dist_cfg.backend=gloo', 'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=2', 'default_hooks.logger.interval=1',
    ]  # fmt: skip
    command = ['tools/dist_train.sh', config, '1', '--work-dir', str(tmp_path), '--cfg-options']
    port = str(free_port())
    logs = [tmp_path / f'rank{rank}.txt' for rank in range(2)]
    processes = [
        subprocess.Popen(
            ['bash', *command, *options],
            cwd=repo_root,
            env={**environment, 'NNODES': '2', 'NODE_RANK': str(rank), 'PORT': port},
            stdout=log.open('w'), stderr=subprocess.STDOUT,
        )
        for rank, log in enumerate(logs)
    ]  # fmt: skip
    statuses = [process.wait(timeout=300) for process in processes]
    assert statuses == [0, 0], ''.join(log.read_text()[-3000:] for log in logs)
    assert len(losses(tmp_path)) == 2 and (tmp_path / 'epoch_1.pth').is_file()


def test_a_compiled_network_has_the_outputs_and_gradients_of_the_eager_one(config, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    cfg = load_config(config)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    network = MODELS.build(cfg.model.backbone).to(DEVICE).eval()
    image = torch.randn(2, 3, 192, 192, device=DEVICE)
    results = []
    for run in (network, torch.compile(network)):
        network.zero_grad()
        maps = run(image)
        sum(m.square().mean() for m in maps).backward()
        results.append([*maps, *(p.grad for p in network.parameters())])
    for eager, compiled in zip(*results, strict=True):
        assert (eager - compiled).norm() <= 1e-3 * eager.norm() + 1e-5
