"""Errors of PyTorch during a run are answered with the setting that avoids them."""

import os
import subprocess
import sys

import pytest


def test_a_last_batch_of_one_with_batchnorm(tool, tiny_seg, shapes_root, tmp_path, monkeypatch):
    """Eight images in batches of seven; ASPP pools the map to one pixel."""
    monkeypatch.chdir(tmp_path)
    options = [f'data_root={shapes_root}/', 'train_dataloader.batch_size=7']
    config = tmp_path / 'aspp.py'
    config.write_text(
        f'_base_ = {tiny_seg!r}\n'
        'model = dict(decode_head=dict(_delete_=True, type="ASPPHead", in_channels=64, channels=8,'
        'dilations=(1,), num_classes=7, norm_cfg=dict(type="BN")))\n'
    )
    status, err = tool('train.py', config, '--cfg-options', *options)
    assert status == 2 and '--cfg-options train_dataloader.drop_last=True' in err
    assert 'Expected more than 1 value per channel' in err
    drop = 'train_dataloader.drop_last=True'
    assert tool('train.py', config, '--cfg-options', *options, drop)[0] == 0


@pytest.mark.long
def test_unused_parameters_in_two_processes(tiny_seg, shapes_root, repo_root, tmp_path):
    config = tmp_path / 'unused.py'
    (tmp_path / 'unused_layer.py').write_text(
        'import torch\nfrom mmseg.models import FCNHead\nfrom mmseg.registry import MODELS\n\n\n'
        '@MODELS.register_module()\nclass UnusedHead(FCNHead):\n'
        '    def __init__(self, **kwargs):\n        super().__init__(**kwargs)\n'
        '        self.unused = torch.nn.Linear(2, 2)\n'
    )
    config.write_text(
        f'_base_ = {tiny_seg!r}\ncustom_imports = dict(imports=["unused_layer"])\n'
        'model = dict(decode_head=dict(type="UnusedHead"))\n'
    )
    environment = {**os.environ, 'PYTHONPATH': f'{repo_root}:{tmp_path}', 'OMP_NUM_THREADS': '1'}

    def run(*options):
        return subprocess.run(
            [sys.executable, '-m', 'torch.distributed.run', '--standalone',
             '--nproc_per_node=2', repo_root / 'tools/train.py', config, '--launcher', 'pytorch',
             '--work-dir', tmp_path / 'run', '--cfg-options', f'data_root={shapes_root}/',
             'train_dataloader.batch_size=2', *options],
            cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=200,
        )  # fmt: skip

    done = run()
    assert done.returncode != 0 and 'error: some parameters take no part' in done.stderr
    assert '--cfg-options find_unused_parameters=True' in done.stderr
    assert run('find_unused_parameters=True').returncode == 0
