"""An interrupted run equals an undisturbed one, bit for bit."""

import shlex
from importlib import import_module
from pathlib import Path

import pytest
import torch

from mmela.engine import load_config, train, use_resume

TASKS = ['random_seg', 'random_det']


@pytest.fixture
def run(configs, shapes_root, tmp_path, monkeypatch):
    """Trains a config of this folder with some settings; returns the runner."""
    monkeypatch.syspath_prepend(str(configs))
    import_module('interrupt')
    monkeypatch.chdir(tmp_path)

    def run(name, work_dir, *settings, hooks=(), resume=False):
        settings = [f'data_root={shapes_root}/', *settings]
        cfg = load_config(str(configs / f'{name}.py'), settings, str(tmp_path / work_dir))
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), *hooks]
        if resume:
            use_resume(cfg, 'auto')
        return train(cfg)

    return run


def interrupted(run, name, work_dir, *settings, **when):
    """Interrupts a run in the middle of an iteration, continues it, and returns the runner."""
    hook = dict(type='SendSignalHook', **when)
    with pytest.raises(SystemExit) as exit_:
        run(name, work_dir, *settings, hooks=[hook])
    assert exit_.value.code == 143
    return run(name, work_dir, *settings, resume=True)


def assert_same_run(runner, undisturbed, first):
    """The runs had the same batches, random numbers and losses from an iteration on."""
    assert runner.trace == undisturbed.trace[first:]
    assert runner.trace[0][0] == first
    weights = runner.model.state_dict()
    for key, value in undisturbed.model.state_dict().items():
        assert torch.equal(weights[key], value), key


@pytest.mark.parametrize(
    'name', [TASKS[0], pytest.param(TASKS[1], marks=[pytest.mark.long, pytest.mark.core])]
)
def test_a_run_interrupted_by_a_signal_continues_as_if_undisturbed(name, run):
    undisturbed = run(name, 'undisturbed')
    # In the middle of the second epoch, and of the iterations for which an image size is kept.
    runner = interrupted(run, name, 'interrupted', iteration=5)
    assert_same_run(runner, undisturbed, 5)


@pytest.mark.long
@pytest.mark.core
def test_the_state_of_an_augmentation_is_not_taken_for_another_preprocessing(run, tmp_path):
    settings = [f'model.data_preprocessor.{key}=[9.,9.,9.]' for key in ('mean', 'std')]
    interrupted(run, 'random_det', 'interrupted', *settings, iteration=5)
    logs = [path.read_text() for path in Path('interrupted').glob('*/*.log')]
    assert len(logs) == 2 and not any('was trained on images' in log for log in logs)
    assert all('(resumed)' in log for log in logs if 'Auto' in log)


@pytest.mark.long
@pytest.mark.core
@pytest.mark.parametrize('name', TASKS)
def test_the_same_with_workers_that_persist(name, run):
    workers = ['train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True']
    undisturbed = run(name, 'undisturbed')
    runner = interrupted(run, name, 'interrupted', *workers, iteration=6)
    assert_same_run(runner, undisturbed, 6)


@pytest.mark.long
def test_a_run_interrupted_at_the_end_of_an_epoch_ends_that_epoch_first(run):
    undisturbed = run('random_det', 'undisturbed')
    runner = interrupted(run, 'random_det', 'interrupted', iteration=4)
    assert_same_run(runner, undisturbed, 4)
    ema = [
        torch.load(f'{work_dir}/epoch_2.pth', weights_only=False)['ema_state_dict']
        for work_dir in ('undisturbed', 'interrupted')
    ]
    assert all(torch.equal(value, ema[1][key]) for key, value in ema[0].items())


@pytest.mark.long
@pytest.mark.parametrize('name', TASKS)
def test_a_run_interrupted_in_validation_ends_that_first(name, run):
    """The weights that a validation uses may be those of EMA, which are not to be continued."""
    undisturbed = run(name, 'undisturbed')
    iteration = 3 if name == 'random_seg' else 4
    runner = interrupted(run, name, 'interrupted', iteration=iteration, in_validation=True)
    assert_same_run(runner, undisturbed, iteration)


def test_the_closing_hint_can_be_pasted(tool, configs, shapes_root, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(configs))
    monkeypatch.chdir(tmp_path)
    data = [f'data_root={shapes_root}/', 'train_cfg.max_iters=1']
    config = configs / 'random_seg.py'
    status, err = tool('train.py', config, '--work-dir', 'a dir', '--cfg-options', *data)
    assert status == 0, err
    hint = next(line for line in tool.stdout.splitlines() if 'tools/test.py' in line)
    words = shlex.split(hint[hint.index('python') :])
    assert Path(words[2]).samefile(config) and Path(words[3]) == Path('a dir/iter_1.pth')


@pytest.mark.long
def test_a_sampler_that_ends_continues_at_its_place_in_a_run_by_iterations(run):
    sampler = ['train_dataloader.sampler.type=DefaultSampler']
    undisturbed = run('random_seg', 'undisturbed', *sampler)
    runner = interrupted(run, 'random_seg', 'interrupted', *sampler, iteration=6)
    assert_same_run(runner, undisturbed, 6)


def test_another_network_and_no_validation_see_the_same_data_and_random_numbers(run):
    one = run('random_seg', 'one')
    other = run(
        'random_seg', 'other', 'train_cfg.val_interval=100', 'model.decode_head.channels=32'
    )
    assert [row[:4] for row in one.trace] == [row[:4] for row in other.trace]
    assert one.trace[0][4] != other.trace[0][4]


@pytest.mark.long
def test_without_a_seed_each_image_is_still_seen_once_an_epoch(run):
    settings = ['randomness.seed=None', 'train_dataloader.batch_size=2']
    settings += ['train_dataloader.sampler.shuffle=True']
    trace, stop = dict(type='TraceHook'), dict(type='SendSignalHook', iteration=3)
    undisturbed = run('tiny_seg', 'undisturbed', *settings, hooks=[trace])
    with pytest.raises(SystemExit):
        run('tiny_seg', 'interrupted', *settings, hooks=[stop])
    runner = run('tiny_seg', 'interrupted', *settings, hooks=[trace], resume=True)
    # The order is another one each time, and the last batch holds what the first three did not.
    runner_images = {mean for row in runner.trace for mean in row[2]}
    assert [row[1] for row in runner.trace] == [3] and len(runner_images) == 2
    assert runner_images < {mean for row in undisturbed.trace for mean in row[2]}
