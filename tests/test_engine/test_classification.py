"""Classification by the tools that detection and segmentation are trained and tested with."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmela.analysis.complexity import measure
from mmela.engine import (
    UserError,
    draw_predictions,
    load_config,
    train,
    use_auto_scale_lr,
    use_tta,
)
from mmela.visualization import record_attention

pytest.importorskip('mmpretrain', reason='MMPreTrain is not installed')

TINY = Path(__file__).parent / 'configs' / 'tiny_cls.py'
LOSSES = TINY.with_name('tiny_cls_losses.py')


@pytest.fixture(scope='session')
def colours(tmp_path_factory):
    """ImageNet folders of three classes: 4 images each for training, 2 for validation.

    The files have the same names in each.
    """
    root = tmp_path_factory.mktemp('data') / 'colours'
    random = np.random.default_rng(0)
    for split, number in (('train', 4), ('val', 2)):
        for channel, name in enumerate(('blue', 'green', 'red')):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                image = random.integers(0, 60, (40, 48, 3), dtype=np.uint8)
                image[..., channel] += 150
                cv2.imwrite(str(folder / f'{i}.png'), image)
    return root


@pytest.fixture(scope='module')
def trained(colours, tmp_path_factory):
    """An epoch from the weights of the same network without attention; the folder and the log."""
    folder = tmp_path_factory.mktemp('cls')
    cfg = load_config(TINY, ['model.backbone.plugins=None'])
    init_default_scope('mmpretrain')
    plain = MODELS.build(cfg.model)
    torch.save(dict(state_dict=plain.state_dict()), folder / 'plain.pth')
    options = [f'data_root={colours}', f'load_from={folder / "plain.pth"}']
    cfg = load_config(TINY, options, work_dir=str(folder / 'run'))
    use_auto_scale_lr(cfg)
    train(cfg)
    (log,) = (folder / 'run').glob('*/*.log')
    return folder, log.read_text(), len(plain.state_dict())


def test_a_classifier_gets_attention_and_is_trained(trained):
    folder, log, tensors = trained
    assert f'{tensors} tensors loaded' in log
    assert '24 new, all of the attention (ela): backbone.layer2.0.ela.*' in log
    assert 'UNTRAINED' not in log and ' unexpected, ' not in log
    assert re.search(r'current batch size is 6\. Scaling the original LR by 0\.5\.', log)
    assert re.search(r'Epoch\(val\) \[1\].*accuracy/top1: ', log)
    assert (folder / 'run' / 'epoch_1.pth').is_file()


def test_a_classifier_is_tested_and_its_predictions_are_kept_and_drawn(
    trained, tool, colours, monkeypatch
):
    folder, _, tensors = trained
    monkeypatch.chdir(folder)
    options = ('--work-dir', 'tested', '--out', 'scores.pkl', '--show-dir', 'images')
    data = ('--cfg-options', f'data_root={colours}')
    assert tool('test.py', TINY, 'run/epoch_1.pth', *options, *data)[0] == 0
    assert f'{tensors + 24} tensors loaded, every one' in tool.stdout
    metrics = json.loads((folder / 'tested' / 'metrics.json').read_text())
    assert set(metrics) == {'accuracy/top1'}
    assert re.search(rf'accuracy/top1\W+{metrics["accuracy/top1"]:.4f}', tool.stdout)
    assert {image.name for image in (folder / 'images').iterdir()} == {
        f'{name}-{i}.png_0.png' for name in ('blue', 'green', 'red') for i in range(2)
    }
    scores = pickle.loads((folder / 'scores.pkl').read_bytes())
    right = sum(int(s['pred_label']) == int(s['gt_label']) for s in scores)
    assert len(scores) == 6 and metrics['accuracy/top1'] == pytest.approx(100 * right / 6, abs=1e-3)


def test_tta_averages_the_scores_of_both_views(trained, tool, colours):
    folder, _, _ = trained
    options = ('--tta', '--out', folder / 'tta.pkl', '--cfg-options', f'data_root={colours}')
    work_dir = ('--work-dir', folder / 'tta')
    assert tool('test.py', TINY, folder / 'run' / 'epoch_1.pth', *work_dir, *options)[0] == 0
    averaged = pickle.loads((folder / 'tta.pkl').read_bytes())
    cfg = load_config(TINY, [f'data_root={colours}'])
    init_default_scope('mmpretrain')
    model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor}).eval()
    checkpoint = torch.load(folder / 'run' / 'epoch_1.pth', weights_only=False)
    model.load_state_dict(checkpoint['state_dict'])
    image = cv2.imread(str(colours / 'val' / 'blue' / '0.png'))[4:36, 8:40]
    views = np.stack([image, image[:, ::-1]]).transpose(0, 3, 1, 2).copy()
    with torch.no_grad():
        inputs = (torch.from_numpy(views).float() - 127.5) / 127.5
        expected = model.head.fc(model.extract_feat(inputs)[-1])
    torch.testing.assert_close(averaged[0]['pred_score'], expected.softmax(1).mean(0))


def test_weights_of_a_whole_network_for_the_backbone_without_prefix_are_refused(
    trained, tool, colours, tmp_path
):
    weights = trained[0] / 'run' / 'epoch_1.pth'
    options = (f'data_root={colours}', 'model.backbone.init_cfg.type=Pretrained')
    options += (f'model.backbone.init_cfg.checkpoint={weights}',)
    run = ('train.py', TINY, '--work-dir', tmp_path / 'run', '--cfg-options', *options)
    status, said = tool(*run)
    assert status == 2 and f'no tensor of {weights} fits backbone' in said
    assert said.rstrip().endswith('--cfg-options model.backbone.init_cfg.prefix=backbone.')
    assert not [*(tmp_path / 'run').glob('*.pth')]
    assert tool(*run, 'model.backbone.init_cfg.prefix=backbone.')[0] == 0


def test_a_checkpoint_of_another_network_is_not_tested(tool, colours, tmp_path):
    torch.save(dict(state_dict={'stem.weight': torch.zeros(1)}), tmp_path / 'other.pth')
    options = ('--work-dir', tmp_path / 'run', '--cfg-options', f'data_root={colours}')
    status, said = tool('test.py', TINY, tmp_path / 'other.pth', *options)
    assert status == 2 and 'other.pth fits the network' in said
    assert not (tmp_path / 'run' / 'metrics.json').exists()


def test_a_run_is_resumed(trained, tool, colours, tmp_path):
    work_dir = Path(shutil.copytree(trained[0] / 'run', tmp_path / 'run'))
    options = ('--resume', '--cfg-options', f'data_root={colours}', 'train_cfg.max_epochs=2')
    assert tool('train.py', TINY, '--work-dir', work_dir, *options)[0] == 0
    log = max(work_dir.glob('*/*.log')).read_text()
    assert re.search(r'epoch_1\.pth \(resumed\) -> the network: \d+ tensors loaded, every', log)
    assert 'Epoch(train) [2][2/2]' in log and 'Epoch(train) [1]' not in log


@pytest.mark.long
@pytest.mark.core
def test_two_processes_have_the_mean_loss_of_one(
    run_command, tool, repo_root, colours, tmp_path, monkeypatch
):
    data = f'data_root={colours}'
    monkeypatch.syspath_prepend(LOSSES.parent)  # where its hook is
    assert tool('train.py', LOSSES, '--work-dir', tmp_path / 'one', '--cfg-options', data)[0] == 0
    log = run_command(
        *(repo_root / 'tools' / 'dist_train.sh', LOSSES, 2, '--work-dir', 'two'),
        *('--cfg-options', data, 'train_dataloader.batch_size=3'),
        cwd=tmp_path,
    )
    (alone,), together = (
        [json.loads(file.read_text()) for file in sorted((tmp_path / name).glob('loss_*.json'))]
        for name in ('one', 'two')
    )
    assert len(together) == 2 and len(alone) == 2
    means = [sum(step) / 2 for step in zip(*together, strict=True)]
    assert means == pytest.approx(alone, rel=0, abs=1e-5)
    assert 'connected by gloo' in log


def test_a_published_checkpoint_is_tested(trained, tool, colours):
    folder, _, _ = trained
    full, small = folder / 'run' / 'epoch_1.pth', folder / 'small.pth'
    assert tool('model_converters/publish_model.py', full, small)[0] == 0
    assert set(torch.load(small, weights_only=True)) == {'meta', 'state_dict'}
    options = ('--work-dir', folder / 'small', '--cfg-options', f'data_root={colours}')
    assert tool('test.py', TINY, small, *options)[0] == 0
    log = max((folder / 'small').glob('*/*.log')).read_text()
    assert 'tensors loaded, every one in its place' in log


def test_the_attention_of_a_classifier_is_recorded():
    cfg = load_config(TINY)
    init_default_scope('mmpretrain')
    model = MODELS.build(cfg.model).eval()
    with record_attention(model) as maps, torch.no_grad():
        model.extract_feat(torch.randn(2, 3, 64, 64))
    assert [name.split('.')[1] for name in maps] == ['layer2'] * 2 + ['layer3'] * 2 + ['layer4'] * 2
    assert maps['backbone.layer2.0.ela'][0].shape == (2, 8, 8)


def test_parameters_and_flops_are_counted():
    counts = measure(load_config(TINY))
    assert counts.shape == (32, 32) and counts.attention == 'ELA-B, x + scale * ELA(x)'
    assert counts.attention_layers == counts.attention_places == 6
    assert counts.attention_params == (9 + 1) * 2 * (16 + 32 + 64)
    assert not counts.uncounted


def test_the_dataloaders_get_what_mmpretrains_own_scripts_add():
    cfg = load_config(TINY, ['val_dataloader.num_workers=2'])
    assert cfg.train_dataloader.collate_fn == dict(type='default_collate')
    assert not cfg.train_dataloader.persistent_workers and cfg.val_dataloader.persistent_workers
    own = load_config(TINY, ['val_dataloader.collate_fn.type=pseudo_collate'])
    assert own.val_dataloader.collate_fn.type == 'pseudo_collate'


def test_tta_with_images_is_refused():
    cfg = load_config(TINY)
    draw_predictions(cfg, show_dir='images')
    assert cfg.default_hooks.visualization.interval == 1
    with pytest.raises(UserError, match='--tta cannot be combined with --show'):
        use_tta(cfg)
