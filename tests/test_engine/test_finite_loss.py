"""A loss or weights that are not finite end a training before anything is lost."""

from contextlib import contextmanager
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop
from toy_run import toy_config, toy_train

from mmela.engine import load_config, train
from mmela.engine import test as run_test
from mmela.engine.hooks.finite_loss import FiniteLossHook
from mmela.errors import UserError

LAYERS = {
    'tiny_seg': ('backbone.layer3.0.conv1', 'decode.loss_ce'),
    'tiny_cls': ('backbone.layer3.0.conv1', 'loss'),
    'tiny_det': ('bbox_head.multi_level_conv_cls.1', 'loss_cls'),
}


@pytest.fixture
def greys(tmp_path):
    """Grey images in the folders of three classes."""
    for name in (
        'train/a/0',
        'train/a/1',
        'train/b/0',
        'train/c/0',
        'val/a/0',
        'val/b/0',
        'val/c/0',
    ):
        path = tmp_path / 'greys' / f'{name}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((32, 32, 3), 99, np.uint8))
    return tmp_path / 'greys'


@pytest.fixture
def config(configs, shapes_root, greys, tmp_path, monkeypatch):
    """A tiny config with one more hook."""
    monkeypatch.syspath_prepend(str(configs))
    import_module('interrupt')
    monkeypatch.chdir(tmp_path)

    def config(name, *settings, hook):
        if name == 'tiny_cls':
            pytest.importorskip('mmpretrain')
        root = greys if name == 'tiny_cls' else shapes_root
        settings = [f'data_root={root}/', *settings]
        cfg = load_config(str(configs / f'{name}.py'), settings, str(tmp_path / 'run'))
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
        return cfg

    return config


@pytest.mark.parametrize('name', LAYERS)
def test_a_loss_that_is_not_finite_ends_the_run_and_names_where_it_began(name, config):
    layer, loss = LAYERS[name]
    hook = dict(type='PoisonHook', layer=layer, iteration=2)
    cfg = config(name, 'train_cfg.max_epochs=2', 'train_dataloader.batch_size=4', hook=hook)
    with pytest.raises(UserError) as error:
        train(cfg)
    message = str(error.value)
    assert f'iteration 2: {loss}' in message and f'{layer} (' in message
    images = [name for name in Path(cfg.data_root).rglob('*.jpg') if str(name) in message]
    assert len(images) == 4
    assert not Path(cfg.work_dir, 'epoch_2.pth').exists()


def test_the_weights_are_those_of_before(config):
    hook = dict(type='PoisonHook', layer='decode_head.convs.0', iteration=1)
    cfg = config('tiny_seg', hook=hook)
    weights = []

    class Look(FiniteLossHook):
        def _explain(self, *args):
            weights.extend(self._runner.model.parameters())
            return super()._explain(*args)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError):
        patch.setattr('mmela.engine.runner.FiniteLossHook', Look)
        train(cfg)
    assert weights and all(torch.isfinite(weight).all() for weight in weights)


def test_weights_that_are_not_finite_replace_no_checkpoint(config, caplog):
    hook = dict(type='PoisonWeightHook', name='decode_head.conv_seg.weight', iteration=4)
    cfg = config('tiny_seg', 'train_cfg.max_epochs=2', hook=hook)
    with pytest.raises(UserError, match=r'decode_head.conv_seg.weight'):
        train(cfg)
    checkpoint = torch.load(Path(cfg.work_dir, 'epoch_1.pth'), weights_only=False)
    assert all(value.isfinite().all() for value in checkpoint['state_dict'].values())
    assert not Path(cfg.work_dir, 'epoch_2.pth').exists()

    checkpoint['state_dict']['decode_head.conv_seg.weight'][0] = float('nan')
    torch.save(checkpoint, 'nan.pth')
    warnings = []
    with pytest.MonkeyPatch.context() as patch:
        name = 'mmela.engine.hooks.finite_loss.print_log'
        patch.setattr(name, lambda message, **kwargs: warnings.append(message))
        run_test(config('tiny_seg', hook=dict(type='TraceHook')), 'nan.pth')
    assert any('decode_head.conv_seg.weight' in warning for warning in warnings)


def test_a_loss_function_that_refuses_what_is_not_finite_is_explained_as_well(config):
    """YOLOX's assigner raises a RuntimeError before there is a loss."""
    name = 'neck.out_convs.0.conv.weight'
    hook = dict(type='PoisonWeightHook', name=name, iteration=1)
    with pytest.raises(UserError, match=f'iteration 2: .* not finite .*{name}'):
        train(config('tiny_det', 'train_dataloader.batch_size=2', hook=hook))


def test_mixed_precision_may_skip_nine_steps_in_a_row():
    """A scaler skips steps and lowers the scale, which takes a few iterations."""
    model = torch.nn.Linear(1, 1)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    wrapper.loss_scaler = object()
    hook = FiniteLossHook()
    loop = SimpleNamespace(run_iter=None)
    hook.before_train(
        SimpleNamespace(optim_wrapper=wrapper, model=model, cfg={}, iter=0, train_loop=loop)
    )
    assert deepcopy(model)(torch.ones(1)).isfinite()  # as EMA does

    def loss(factor):
        return model(torch.ones(1)).sum() * factor

    for factor in [*[float('inf')] * 9, 1.0, *[float('nan')] * 9]:
        wrapper.backward(loss(factor))
    with pytest.raises(UserError, match='10th time in a row'):
        wrapper.backward(loss(float('nan')))


def test_each_optimizer_counts_its_own_losses():
    """The discriminator of a GAN is not finite while the generator is."""
    models = [torch.nn.Linear(1, 1) for _ in range(2)]
    wrappers = [OptimWrapper(torch.optim.SGD(m.parameters(), lr=0.1)) for m in models]
    for wrapper in wrappers:
        wrapper.loss_scaler = object()
    hook, loop = FiniteLossHook(), SimpleNamespace(run_iter=None)
    optim_wrapper = OptimWrapperDict(g=wrappers[0], d=wrappers[1])
    runner = dict(optim_wrapper=optim_wrapper, model=models[0], cfg={}, iter=0, train_loop=loop)
    hook.before_train(SimpleNamespace(**runner))

    def step(factor):
        wrappers[0].backward(models[0](torch.ones(1)).sum())
        wrappers[1].backward(models[1](torch.ones(1)).sum() * factor)

    for _ in range(9):
        step(float('nan'))
    with pytest.raises(UserError, match='10th time in a row'):
        step(float('nan'))


class HalfOptimWrapper(OptimWrapper):
    """MMEngine's mixed precision, which asks for a GPU, on the CPU."""

    @contextmanager
    def optim_context(self, model):
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.float16):
            yield


class Overflow(torch.nn.Module):
    """90,000 is not finite in float16 alone."""

    def __init__(self):
        super().__init__()
        self.fine, self.large = torch.nn.Identity(), torch.nn.Linear(1, 1, bias=False)
        self.large.weight.data.fill_(300.0)

    def forward(self, x):
        return {'loss_a': self.large(self.fine(x)).float().sum()}


@pytest.mark.skipif(torch.__version__ < '2.4', reason='float16 autocast on CPUs')
def test_an_overflow_of_mixed_precision_is_found_in_mixed_precision():
    model = Overflow()
    wrapper = HalfOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    hook, loop = FiniteLossHook(), SimpleNamespace(run_iter=None)
    runner = dict(optim_wrapper=wrapper, model=model, cfg={}, iter=0, train_loop=loop)
    hook.before_train(SimpleNamespace(**runner))
    with wrapper.optim_context(model):
        loss = model(torch.full((1, 1), 300.0))['loss_a']
    with pytest.raises(UserError, match=r'loss_a is not finite; .* is large \(Linear\)'):
        wrapper.backward(loss)


@LOOPS.register_module()
class OwnLoop(EpochBasedTrainLoop):
    """A loop that has no method for an iteration."""

    def __getattribute__(self, name):
        if name == 'run_iter':
            raise AttributeError(name)
        return super().__getattribute__(name)

    def run(self):
        self.runner.call_hook('before_train')
        for batch in self.dataloader:
            self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)
            self._iter += 1
        self.runner.call_hook('after_train')


def test_a_loop_without_a_method_for_an_iteration_trains(tmp_path):
    cfg = toy_config(tmp_path)
    cfg.train_cfg = dict(type='OwnLoop', max_epochs=1)
    assert toy_train(cfg).train_loop.iter == 4


@pytest.mark.long
def test_faster_rcnn_that_diverges_is_ended(config):
    """A learning rate out of all reason, after which it used to train on NaN to the end."""
    cfg = config('tiny_frcnn', 'optim_wrapper.optimizer.lr=1e12', hook=dict(type='TraceHook'))
    with pytest.raises(UserError, match=r'iteration \d+: .*not finite'):
        train(cfg)
