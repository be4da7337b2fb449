"""Time and memory of a whole network with and without its attention."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from benchmarks.inputs import make_inputs, prepare_model
from benchmarks.memory import measure_memory, tensor_bytes
from benchmarks.timing import Interval, median_interval, time_pairs
from mmela.analysis.complexity import drop_plugins
from mmela.analysis.input_shape import input_shape
from mmela.attentions.base import Attention
from mmela.engine.checks.environment import check_environment
from mmela.engine.checks.plugins import check_plugins
from mmela.engine.toolboxes import scope_of
from mmela.errors import UserError, explain_errors
from mmela.ops import recompute_outputs

STEP, INFERENCE = 'training step', 'inference'
WARM_UP = 3


class Pass(NamedTuple):
    """A training step or an inference, with and without attention.

    Attributes:
        name: :data:`STEP` or :data:`INFERENCE`.
        plain: Median seconds without attention; None if only memory was measured.
        attention: Median seconds with attention; None if only memory was measured.
        ratio: Time ratio of the pairs with its interval; None if only memory was measured.
        plain_bytes: Peak memory without attention: parameters, optimizer state, inputs and what the
            pass allocates.
        attention_bytes: Peak memory with attention.
        output_bytes: Size of the outputs of the attention layers, which the layers behind them must
            keep for backward.
    """

    name: str
    plain: float | None
    attention: float | None
    ratio: Interval | None
    plain_bytes: int
    attention_bytes: int
    output_bytes: int

    @property
    def memory_ratio(self) -> float:
        """Peak memory with attention over peak memory without."""
        return self.attention_bytes / self.plain_bytes

    @property
    def memory_to_bound(self) -> float | None:
        """Peak memory with attention over that without plus the outputs of the attention layers.

        None for inference, which keeps no outputs.
        """
        if self.name == INFERENCE:
            return None
        return self.attention_bytes / (self.plain_bytes + self.output_bytes)


@dataclass(frozen=True)
class NetworkResult:
    """Result and settings of one network."""

    config: str
    batch: int
    shape: tuple[int, int]
    dtype: str
    pairs: int
    places: int  #: calls of attention layers per pass
    passes: tuple[Pass, Pass]
    recompute: bool = False  #: whether outputs of ELA are recomputed in backward


@dataclass
class _Network:
    step: Callable[[], Any]
    infer: Callable[[], Any]
    step_bytes: int
    infer_bytes: int
    model: nn.Module


def measure_network(
    cfg: Config,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    pairs: int = 200,
    shape: tuple[int, int] | None = None,
    batch: int | None = None,
    name: str | None = None,
    recompute: bool = False,
) -> NetworkResult:
    """Measures a training step and an inference of a config with and without its attention.

    The baseline is the same config without any ``plugins`` and with the same weights. Weights are
    random, nothing is downloaded, and the learning rate is 0, so both networks stay unchanged.
    Inputs are synthetic, of one size, and on the device. A training step is MMEngine's:
    preprocessing, losses, backward, optimizer. An inference stops before boxes are decoded and
    suppressed, because with random weights their number would be random.

    Args:
        cfg: A config from :func:`mmela.engine.load_config`; it is not modified.
        device: Where to run.
        dtype: float32, or the dtype of mixed precision, as with ``tools/train.py --amp``.
        pairs: Number of pairs to time; 0 measures memory only.
        shape: Height and width; None takes the config's test size.
        batch: Number of images; None takes the config's training batch size.
        name: Name of the config in the report; None takes its file name.
        recompute: Train the network with attention under :func:`mmela.ops.recompute_outputs`.

    Returns:
        Times, ratios and peak memory.

    Raises:
        UserError: If the config has no attention, batch size, optimizer or input size, or if mixed
            precision is requested on a CPU.
        ConfigError: If a ``plugins`` list is invalid.
    """
    scope = scope_of(cfg)
    if dtype != torch.float32 and device.type == 'cpu':
        raise UserError('--dtype: mixed precision needs a GPU; use --dtype float32 on the CPU.')
    check_environment(scope)
    check_plugins(cfg, ())
    shape = input_shape(cfg) if shape is None else shape
    batch = (cfg.get('train_dataloader') or {}).get('batch_size') if batch is None else batch
    if not batch or cfg.get('optim_wrapper') is None:
        raise UserError(
            'the config needs train_dataloader.batch_size and optim_wrapper to be timed.'
        )
    cfg = deepcopy(cfg)
    prepare_model(cfg.model, shape)
    plain_cfg = deepcopy(cfg.model)
    if not drop_plugins(plain_cfg):
        raise UserError(f'{cfg.filename or "the config"} has no attention: no `plugins` in model.')
    torch.backends.cudnn.benchmark = bool((cfg.get('env_cfg') or {}).get('cudnn_benchmark'))

    with MODELS.switch_scope_and_registry(scope), _quiet_logger():
        inputs = make_inputs(cfg, shape, batch, device)
        # The first step makes the state of the optimizer; clocks need more before they are started.
        warm_up = WARM_UP if pairs else 1
        _progress(
            f'{name or cfg.filename}: warm-up and memory, batch {batch}, {shape[0]}x{shape[1]}'
        )
        plain = _build(cfg, plain_cfg, inputs, device, dtype, None, warm_up)
        weights = plain.model.state_dict()
        attention = _build(cfg, cfg.model, inputs, device, dtype, weights, warm_up, recompute)
        with _watched_outputs(attention.model) as outputs:
            attention.infer()
        passes = (
            _compare(STEP, plain, attention, sum(outputs), device, pairs),
            _compare(INFERENCE, plain, attention, sum(outputs), device, pairs),
        )
    return NetworkResult(
        config=str(name or cfg.filename),
        batch=batch,
        shape=shape,
        dtype=str(dtype).removeprefix('torch.'),
        pairs=pairs,
        places=len(outputs),
        passes=passes,
        recompute=recompute,
    )


@contextmanager
def _quiet_logger() -> Iterator[None]:
    """Keeps MMEngine from logging the weight decay of each parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        yield
    finally:
        logger.setLevel(level)


def _build(
    cfg: Config,
    model_cfg: Any,
    inputs: dict[str, Any],
    device: torch.device,
    dtype: torch.dtype,
    weights: Any,
    warm_up: int,
    recompute: bool = False,
) -> _Network:
    """Builds a network, warms it up and measures its memory."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # a training or a test will say it
        with explain_errors():
            model = revert_sync_batchnorm(MODELS.build(deepcopy(model_cfg)))
    model.init_weights()
    if weights is not None:
        model.load_state_dict(weights, strict=False)
    model.to(device)
    amp = dtype != torch.float32
    optimizer = _optimizer(cfg, model, dtype)

    def step() -> Any:
        model.train()
        with recompute_outputs() if recompute else nullcontext():
            return model.train_step(inputs, optimizer)

    def infer() -> Any:
        model.eval()
        with torch.no_grad(), torch.autocast(device.type, dtype if amp else None, enabled=amp):
            data = model.data_preprocessor(inputs, False)
            return model(**data, mode='tensor')

    for _ in range(warm_up):
        step()
        infer()
    resident = tensor_bytes([*model.parameters(), *model.buffers(), inputs['inputs']])
    state = tensor_bytes(list(optimizer.optimizer.state.values()))
    return _Network(
        step=step,
        infer=infer,
        step_bytes=resident + state + measure_memory(step, device).peak,
        infer_bytes=resident + measure_memory(infer, device).peak,
        model=model,
    )


def _optimizer(cfg: Config, model: nn.Module, dtype: torch.dtype) -> Any:
    settings = deepcopy(cfg.optim_wrapper)
    settings.pop('accumulative_counts', None)
    if dtype != torch.float32:
        settings.type = 'AmpOptimWrapper'
        settings.dtype = str(dtype).removeprefix('torch.')
        if dtype == torch.float16:
            # With random weights a large loss scale overflows and the step would be skipped.
            settings.loss_scale = 1.0
    else:
        settings.type = 'OptimWrapper'
        for name in ('dtype', 'loss_scale'):
            settings.pop(name, None)
    wrapper = build_optim_wrapper(model, settings)
    for group in wrapper.optimizer.param_groups:
        group['lr'] = 0.0
    return wrapper


@contextmanager
def _watched_outputs(model: nn.Module) -> Iterator[list[int]]:
    """Collects the size in bytes of every attention output inside the block."""
    outputs: list[int] = []
    layers = [layer for layer in model.modules() if isinstance(layer, Attention)]
    handles = [
        layer.register_forward_hook(lambda *call: outputs.append(tensor_bytes(call[2])))
        for layer in layers
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _compare(
    name: str, plain: _Network, attention: _Network, outputs: int, device: torch.device, pairs: int
) -> Pass:
    is_step = name == STEP
    calls = (plain.step, attention.step) if is_step else (plain.infer, attention.infer)
    times: list[list[float]] = []
    begun = time.monotonic()
    while len(times) < pairs:  # in parts of even length, as every other pair is swapped
        part = min(2 if not times else max(2, pairs // 20 * 2), pairs - len(times))
        times += time_pairs(*calls, device, part)
        left = (time.monotonic() - begun) / len(times) * (pairs - len(times))
        _progress(f'{name}: {len(times)} of {pairs} pairs, about {left:.0f} s left')
    timed = bool(times)
    return Pass(
        name,
        plain=median_interval([first for first, _ in times]).median if timed else None,
        attention=median_interval([second for _, second in times]).median if timed else None,
        ratio=median_interval([second / first for first, second in times]) if timed else None,
        plain_bytes=plain.step_bytes if is_step else plain.infer_bytes,
        attention_bytes=attention.step_bytes if is_step else attention.infer_bytes,
        output_bytes=outputs,
    )
