"""Latency of PyTorch and of exported files, with and without attention.

``python -m benchmarks.exported CONFIG ... --out CSV``. All four are timed in turn on one thread, so
that other load on the machine affects all alike.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS, init_default_scope

from benchmarks.machine import describe
from benchmarks.timing import cpu_sampler, interleave, median_interval
from mmela.analysis.complexity import drop_plugins
from mmela.analysis.input_shape import input_shape
from mmela.commands.export import export
from mmela.commands.export_outputs import ClassifierOutputs, DetectorOutputs, SegmenterOutputs
from mmela.engine import exit_on_user_error, load_config
from mmela.engine.toolboxes import scope_of

_OUTPUTS: dict[str, Any] = {
    'mmdet': DetectorOutputs,
    'mmseg': SegmenterOutputs,
    'mmpretrain': ClassifierOutputs,
}
COLUMNS = ('config', 'height', 'width', 'runtime', 'without_ms', 'with_ms', 'ratio', 'low', 'high')


def measure(config: str, rounds: int) -> list[dict[str, Any]]:
    """Times a network with its attention and without, in PyTorch and in ONNX Runtime.

    Args:
        config: A config with attention; its weights are random.
        rounds: Samples of each of the four.

    Returns:
        A row for each runtime: medians in milliseconds, and the ratio of pairs with its interval.
    """
    calls: dict[tuple[str, bool], Callable[[], Any]] = {}
    cfg = load_config(config)
    height, width = input_shape(cfg)
    init_default_scope(scope_of(cfg))
    images = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        for attention in (False, True):
            own = deepcopy(cfg)
            if not attention:
                drop_plugins(own.model)
            torch.manual_seed(0)
            model = MODELS.build(own.model)
            checkpoint = str(Path(folder, 'weights.pth'))
            torch.save({'state_dict': model.state_dict(), 'meta': {}}, checkpoint)
            file = str(Path(folder, f'{attention}.onnx'))
            export(own, checkpoint, file)
            network = _OUTPUTS[scope_of(cfg)](model.eval()).eval()
            calls['PyTorch', attention] = _eager(network, images)
            calls['ONNX Runtime', attention] = _session(file, images)
        times = interleave({str(key): cpu_sampler([call]) for key, call in calls.items()}, rounds)
    rows = []
    for runtime in ('PyTorch', 'ONNX Runtime'):
        without, with_it = times[str((runtime, False))], times[str((runtime, True))]
        ratio = median_interval([b / a for a, b in zip(without, with_it, strict=True)])
        medians = (statistics.median(without) * 1e3, statistics.median(with_it) * 1e3)
        numbers = [f'{value:.3f}' for value in (*medians, *ratio)]
        rows.append(dict(zip(COLUMNS, (config, height, width, runtime, *numbers), strict=True)))
    return rows


def _eager(network: Any, images: torch.Tensor) -> Callable[[], Any]:
    def call() -> Any:
        with torch.inference_mode():
            return network(images)

    return call


def _session(file: str, images: torch.Tensor) -> Callable[[], Any]:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = InferenceSession(file, options, providers=['CPUExecutionProvider'])
    feed = {'images': images.numpy()}
    return lambda: session.run(None, feed)


def main() -> int:
    """Measures the configs of the command line and writes a CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', metavar='CONFIG')
    parser.add_argument('--rounds', type=int, default=60)
    parser.add_argument('--out', type=Path, required=True, metavar='CSV')
    args = parser.parse_args()
    torch.set_num_threads(1)
    with exit_on_user_error():
        rows = [row for config in args.configs for row in measure(config, args.rounds)]
    machine = describe(torch.device('cpu'))
    for row in rows:
        row |= {'rounds': args.rounds, 'device': machine.device, 'versions': machine.versions}
    with args.out.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(row)
    return 0


if __name__ == '__main__':
    sys.exit(main())
