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
CONFIG = 'configs/det/yolox/yolox_nano-ela-t_shapes.py'
AMP = [
    pytest.param(
        ['--amp', '--cfg-options', f'optim_wrapper.dtype={dtype}'],
        id=dtype,
        marks=pytest.mark.skipif(DEVICE == 'cpu', reason='MMEngine has mixed precision on GPUs'),
    )
    for dtype in ('float16', 'bfloat16')
]


def losses(folder):
    (log,) = folder.glob('*/vis_data/scalars.json')
    rows = map(json.loads, log.read_text().splitlines())
    return [row['loss'] for row in rows if 'loss' in row]


@pytest.mark.parametrize('amp', [pytest.param(['--cfg-options'], id='float32'), *AMP])
def test_the_loss_is_finite_and_falls_in_50_iterations(amp, repo_root, shapes_root, tmp_path):
    options = [
        f'data_root={shapes_root}', 'train_cfg.max_epochs=25', 'train_cfg.val_interval=25',
        'train_dataloader.batch_size=4', 'default_hooks.logger.interval=1',
    ]  # fmt: skip
    command = ['tools/train.py', CONFIG, '--work-dir', str(tmp_path), *amp, *options]
    done = subprocess.run([sys.executable, *command], cwd=repo_root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = losses(tmp_path)
    assert len(found) == 50 and all(map(torch.isfinite, torch.tensor(found)))
    assert sum(found[-10:]) < sum(found[:10])


def test_two_processes_train_on_one_device(repo_root, shapes_root, tmp_path):
    """With gloo, since NCCL takes one process for each GPU."""
    options = [
        f'data_root={shapes_root}', 'env_cfg.dist_cfg.backend=gloo', 'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=2', 'default_hooks.logger.interval=1',
    ]  # fmt: skip
    command = ['tools/dist_train.sh', CONFIG, '2', '--work-dir', str(tmp_path), '--cfg-options']
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']])
    done = subprocess.run(
        ['bash', *command, *options],
        cwd=repo_root, env={**os.environ, 'PATH': path}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(losses(tmp_path)) == 2 and (tmp_path / 'epoch_1.pth').is_file()


def test_a_compiled_network_has_the_outputs_and_gradients_of_the_eager_one(repo_root):
    cfg = load_config(repo_root / CONFIG)
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
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-5)
