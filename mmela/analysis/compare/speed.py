"""What an entry costs beside the reference: time and peak memory, measured in pairs."""

from __future__ import annotations

import gc
import json
import logging
import statistics
import time
from collections.abc import Sequence
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, set_random_seed

from mmela.analysis.compare.cell import model_of
from mmela.analysis.compare.costs import processor
from mmela.analysis.compare.spec import Spec
from mmela.errors import explain_errors

SPEED = 'speed.json'
#: Pairs that are timed, after two that are not.
PAIRS = 15


def measure_speed(
    spec: Spec, out: str, entries: Sequence[str] | None = None, pairs: int = PAIRS
) -> str:
    """Times a training step and an inference of each entry and the reference, in turn.

    The inference is the network's pass over the training's batch, without what follows in a test.
    Run it on an idle machine: trainings of a comparison share theirs, so their times say nothing.

    Args:
        spec: The comparison.
        out: Folder of the comparison; ``speed.json`` is written there.
        entries: Which entries; default all.
        pairs: How often both are timed.

    Returns:
        A table.

    Raises:
        UserError: If a network or the data cannot be built.
    """
    results: dict[str, dict[str, Any]] = {}
    with explain_errors():
        base_peak = _peak_alone(spec, spec.reference)
        reference = _Subject(spec, spec.reference)
    for entry in entries or spec.entries:
        with explain_errors():
            peak = _peak_alone(spec, entry)
            subject = _Subject(spec, entry)
        ratios: dict[str, list[float]] = {'step': [], 'inference': []}
        for pair in range(pairs + 2):
            first, second = (reference, subject) if pair % 2 else (subject, reference)
            for kind, found in ratios.items():
                times = {id(s): s.time_of(kind) for s in (first, second)}
                if pair >= 2:
                    found.append(times[id(subject)] / times[id(reference)])
        results[entry] = {
            'step': statistics.median(ratios['step']),
            'inference': statistics.median(ratios['inference']),
            'peak memory': peak / base_peak if base_peak else None,
            'measured': f'{pairs} pairs of batches of {reference.batch_size} on {_device()}',
            'setting': spec.setting(entry),
        }
    Path(out).mkdir(parents=True, exist_ok=True)
    results = {**read_speed(spec, out), **results}
    Path(out, SPEED).write_text(json.dumps(results, indent=2), encoding='utf-8')
    width = max(map(len, ('entry', *results)))
    lines = [f'{"entry":<{width}} {"training step":>13} {"inference":>9} {"peak memory":>11}']
    for entry, row in results.items():
        memory = f'{row["peak memory"]:.3f}' if row['peak memory'] else 'GPU only'
        lines.append(f'{entry:<{width}} {row["step"]:>13.3f} {row["inference"]:>9.3f} {memory:>11}')
    return '\n'.join([*lines, f'ratios to {spec.reference}, medians of {pairs} pairs'])


def read_speed(spec: Spec, out: str) -> dict[str, dict[str, Any]]:
    """Reads what :func:`measure_speed` wrote to a folder.

    Args:
        spec: The comparison.
        out: Its folder.

    Returns:
        The ratios by entry, without those of an entry that the SPEC has otherwise now.
    """
    file = Path(out, SPEED)
    found: dict[str, dict[str, Any]] = {}
    if file.is_file():
        found = json.loads(file.read_text(encoding='utf-8'))
    return {
        entry: row
        for entry, row in found.items()
        if entry in spec.entries and row.get('setting') == spec.setting(entry)
    }


def _device() -> str:
    name = processor()
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f'{name}, {threads} thread{"s" * (threads > 1)}, torch {torch.__version__}'


def _peak_alone(spec: Spec, entry: str) -> int:
    """Peak memory of a training step in bytes, with this network alone; 0 without a GPU."""
    if not torch.cuda.is_available():
        return 0
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    subject = _Subject(spec, entry)
    for _ in range(2):  # the optimizer's state is there from the second step on
        torch.cuda.reset_peak_memory_stats()
        subject.time_of('step')
    return int(torch.cuda.max_memory_allocated()) - before


class _Subject:
    """A network with its optimizer and a batch of the training, the same for all entries."""

    def __init__(self, spec: Spec, entry: str) -> None:
        cfg = spec.config(entry, 0, 'work_dirs')
        init_default_scope(cfg.default_scope)
        self._device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self._model: Any = revert_sync_batchnorm(MODELS.build(model_of(cfg))).to(self._device)
        wrapper = dict(cfg.optim_wrapper)
        if self._device.type == 'cpu':  # MMEngine's mixed precision needs a GPU
            wrapper['type'] = 'OptimWrapper'
            wrapper.pop('loss_scale', None)
            wrapper.pop('dtype', None)
        logging.disable(logging.INFO)  # MMEngine has a line for each parameter with its own rate
        self._optimizer = build_optim_wrapper(self._model, wrapper)
        logging.disable(logging.NOTSET)
        MessageHub.get_current_instance().update_info('iter', 0)  # BatchSyncRandomResize asks
        loader = dict(cfg.train_dataloader, num_workers=0, persistent_workers=False)
        set_random_seed(0)
        self._batch = next(iter(Runner.build_dataloader(loader, seed=0)))
        self.batch_size = len(self._batch['inputs'])

    def time_of(self, kind: str) -> float:
        """Seconds of a training step or an inference."""
        self._model.train(kind == 'step')
        batch = deepcopy(self._batch)  # a preprocessor may pad its labels in place
        inputs, samples = (None, None) if kind == 'step' else self._preprocessed
        self._wait()
        begun = time.perf_counter()
        if kind == 'step':
            self._model.train_step(batch, self._optimizer)
        else:
            with torch.no_grad():
                self._model(inputs, samples, mode='tensor')
        self._wait()
        return time.perf_counter() - begun

    @cached_property
    def _preprocessed(self) -> tuple[Any, Any]:
        """The batch of an inference; only then, as a training step's peak does not have it."""
        preprocessor = self._model.data_preprocessor
        augments = getattr(preprocessor, 'batch_augments', None)
        preprocessor.batch_augments = None
        # as for a training, which pads images to one size where MMSegmentation's test refuses them
        data = preprocessor(deepcopy(self._batch), True)
        preprocessor.batch_augments = augments
        return data['inputs'], data.get('data_samples')

    def _wait(self) -> None:
        if self._device.type == 'cuda':
            torch.cuda.synchronize()
