"""One run of a comparison: a training and a test of one entry with one seed."""

from __future__ import annotations

import fcntl
import json
import math
import re
import shlex
import sys
import time
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmela.analysis.compare.costs import processor
from mmela.analysis.compare.spec import Spec, read_spec, slug
from mmela.analysis.compare.weights import ReferenceWeightsHook
from mmela.engine import exit_on_user_error, test, train, use_resume
from mmela.engine.checkpoints.resume import checkpoints_in, latest_checkpoint
from mmela.errors import UserError, did_you_mean

RESULT = 'result.json'
#: The setting of a run, from its start on.
SETTING = 'setting.json'
#: Exit status of a run whose test has no such metric, as no other run will have it.
NO_METRIC_STATUS = 3
#: Prefix of the metrics of MMDetection's CocoMetric.
_OF_BOXES = 'coco/'


class MetricError(UserError):
    """The test has no metric of the name in the SPEC."""


def folder_of(out: str | Path, entry: str, seed: int) -> Path:
    """The folder of a run."""
    return Path(out, 'runs', slug(entry), f'seed{seed}')


def folders_of(out: str | Path, entry: str) -> dict[int, Path]:
    """The folders of an entry's runs by seed; one that was renamed is none."""
    folders = folder_of(out, entry, 0).parent.glob('seed*')
    found = {m[1]: f for f in folders if (m := re.fullmatch(r'seed(\d+)', f.name))}
    return {int(seed): found[seed] for seed in sorted(found, key=int)}


def command_of(spec_file: str, entry: str, seed: int, out: str) -> str:
    """The command that repeats one run."""
    words = ['mmela', 'compare', spec_file, '--entry', entry, '--seed', str(seed), '--out', out]
    return shlex.join(words)


def read_result(spec: Spec, entry: str, file: Path) -> dict[str, Any]:
    """Reads ``result.json`` of a run.

    Args:
        spec: The comparison.
        entry: The name of the entry.
        file: Its path.

    Returns:
        The result; ``metric`` is the value of the metric that the SPEC names now.

    Raises:
        UserError: If the SPEC has changed since: another base, other options, or a metric that
            the test did not have.
    """
    result: dict[str, Any] = json.loads(file.read_text(encoding='utf-8'))
    _check_setting(spec, entry, result.get('setting') or {}, file.parent)
    value = value_of(result, spec.metric)
    if value is None:
        raise _no_metric(spec, result['metrics'])
    result['metric'] = value
    return result


def value_of(result: Mapping[str, Any], metric: str) -> float | None:
    """A metric of a run.

    Args:
        result: What ``result.json`` holds.
        metric: The name of the metric.

    Returns:
        The value; 0 where a detector found no box at all, of which MMDetection evaluates nothing.
        None where the test has no such metric.
    """
    metrics = result['metrics']
    if not metrics and metric.startswith(_OF_BOXES):
        return 0.0
    return float(metrics[metric]) if metric in metrics else None


def _check_setting(spec: Spec, entry: str, then: Mapping[str, Any], folder: Path) -> None:
    now = spec.setting(entry)
    if now != then:
        keys = sorted(
            k for k in {*now, *then} if now.get(k) != then.get(k) or (k in now) != (k in then)
        )
        raise UserError(
            f'{folder} holds a run of another SPEC: {", ".join(keys)} of entry {entry!r} changed '
            'since; delete the folder to run it again, or name another --out.'
        )


def run_cell(spec: Spec, entry: str, seed: int, out: str | Path) -> dict[str, Any]:
    """Trains and tests one entry with one seed, or continues where it was interrupted.

    Only one process at a time works on a run: another one waits, and takes over its result.

    Args:
        spec: The comparison.
        entry: The name of the entry.
        seed: Of the run.
        out: Folder of the comparison.

    Returns:
        What was written to ``result.json`` in the folder of the run.

    Raises:
        UserError: If the training or test cannot be done, or there is a result of another SPEC.
        MetricError: If the test has no such metric.
    """
    folder = folder_of(out, entry, seed)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / 'lock', 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f'another process runs {folder}: waiting for it.', flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / RESULT).is_file():
            return read_result(spec, entry, folder / RESULT)
        # a run that failed before its first checkpoint has nothing of the SPEC of then
        is_begun = checkpoints_in(str(folder)) or latest_checkpoint(str(folder))
        if (folder / SETTING).is_file() and is_begun:
            then = json.loads((folder / SETTING).read_text(encoding='utf-8'))
            _check_setting(spec, entry, then, folder)
        _write(spec.setting(entry), folder / SETTING)
        return _train_and_test(spec, entry, seed, folder)


def _train_and_test(spec: Spec, entry: str, seed: int, folder: Path) -> dict[str, Any]:
    cfg = spec.config(entry, seed, str(folder))
    evaluators = cfg.get('test_evaluator') or {}
    for evaluator in [evaluators] if isinstance(evaluators, Mapping) else evaluators:
        if evaluator.get('format_only'):
            raise MetricError(
                'test_evaluator: format_only=True gives no metrics to compare; remove it.'
            )
    reference = spec.config(spec.reference, seed, str(folder))
    cfg.dump(folder / 'config.py')
    cfg.custom_hooks = [
        *(cfg.get('custom_hooks') or []),
        dict(type=f'mmela.{ReferenceWeightsHook.__name__}', model=model_of(reference), seed=seed),
    ]
    checkpoint_hook = cfg.setdefault('default_hooks', {}).setdefault('checkpoint', {})
    checkpoint_hook.setdefault('type', 'CheckpointHook')
    # without them a run that was interrupted would not equal one that was not
    checkpoint_hook.update(save_optimizer=True, save_param_scheduler=True)
    # the runs of all entries would share a folder there
    checkpoint_hook.pop('out_dir', None)
    use_resume(cfg, 'auto')
    started = time.time()
    init_default_scope(cfg.default_scope)
    train(cfg)
    checkpoint = latest_checkpoint(str(folder))
    if checkpoint is None:
        raise UserError(
            f'{folder}: the training saved no checkpoint to test; see default_hooks.checkpoint.'
        )
    tested = spec.config(entry, seed, str(folder))
    metrics = test(tested, checkpoint)
    found = {k: float(v) for k, v in metrics.items() if isinstance(v, Real)}
    value = value_of({'metrics': found}, spec.metric)
    if value is None:
        raise _no_metric(spec, found)
    if math.isnan(value):
        raise UserError(f'{spec.metric} of {entry!r} with seed {seed} is not a number.')
    result = dict(
        setting=spec.setting(entry),
        entry=entry,
        seed=seed,
        metric=value,
        metrics=found,
        validations=_validations_of(folder),
        seconds=round(time.time() - started, 1),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        processor=processor(),
    )
    _write(result, folder / RESULT)
    return result


def _write(values: Mapping[str, Any], file: Path) -> None:
    part = file.with_suffix('.part')
    part.write_text(json.dumps(values, indent=2), encoding='utf-8')
    part.replace(file)


def _validations_of(folder: Path) -> dict[str, dict[str, float]]:
    """The metrics of the validations by step, an epoch or an iteration, from MMEngine's logs."""
    validations: dict[str, dict[str, float]] = {}
    for log in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in log.read_text(encoding='utf-8').splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # the last line of a run that was killed
                continue
            if 'loss' not in row and 'step' in row:
                metrics = {k: float(v) for k, v in row.items() if isinstance(v, Real)}
                for key in ('step', 'time', 'data_time'):
                    metrics.pop(key, None)
                validations[str(row['step'])] = metrics
    return validations


def _no_metric(spec: Spec, metrics: Mapping[str, Any]) -> MetricError:
    return MetricError(
        f'metric of the SPEC: expected one of {", ".join(metrics) or "none"}, got {spec.metric!r}'
        + did_you_mean(spec.metric, metrics)
    )


def model_of(cfg: Config) -> Any:
    """The model of a config, with its data preprocessor as the runner adds it."""
    model = cfg.model
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return model


def main() -> None:
    """``python -m mmela.analysis.compare.cell SPEC ENTRY SEED OUT``: one run in this process."""
    spec_file, entry, seed, out = sys.argv[1:]
    with exit_on_user_error():
        try:
            run_cell(read_spec(spec_file), entry, int(seed), out)
        except MetricError as error:
            print(f'error: {error}', file=sys.stderr, flush=True)
            raise SystemExit(NO_METRIC_STATUS) from None


if __name__ == '__main__':
    main()
