"""The demo: two trained networks get ELA through their configs and are fine-tuned.

Every step is a command that a user would run: ``tools/train.py`` and ``tools/test.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from demo.tasks import DATA_ROOT, TASKS, WORK_DIR, Task
from mmela.engine.metrics import METRICS_FILE
from mmela.errors import UserError


@dataclass
class Outcome:
    """Result of a task.

    Attributes:
        before: Metric of the network without attention, as a fraction.
        after: Metric of the fine-tuned network with attention, as a fraction.
        seconds: Duration of the fine-tuning, including the start of the process.
    """

    before: float
    after: float
    seconds: float


def run_demo(root: Path) -> dict[str, Outcome]:
    """Runs the demo and prints its table.

    Args:
        root: The checkout, with ``configs/``, ``tools/`` and ``weights/``. Data and results are
            written to ``data/`` and ``work_dirs/`` in it.

    Returns:
        The outcome of each task by its title.

    Raises:
        UserError: If a step failed, after its own output.
    """
    start = time.monotonic()
    console = Console()
    console.rule('data')
    make_data(root)
    outcomes = {task.title: _run_task(root, task, console) for task in TASKS}
    console.rule('images')
    # Loads the toolboxes, which nothing needs before.
    from demo.drawing import draw_all

    overview = draw_all(root)
    print_outcomes(outcomes, time.monotonic() - start, overview, console)
    return outcomes


def make_data(root: Path) -> None:
    """Renders the data set of the demo unless it exists.

    Args:
        root: The checkout.

    Raises:
        UserError: If its folder holds something else.
    """
    from demo.dataset import generate

    try:
        folder = generate(root / DATA_ROOT)
    except OSError as error:
        raise UserError(str(error)) from error
    print(f'{folder}: scenes of overlapping shapes, as COCO and as PASCAL VOC')


def _run_task(root: Path, task: Task, console: Console) -> Outcome:
    console.rule(f'{task.title}: test without attention')
    before = _test(root, task, task.plain, task.weights, 'before')
    console.rule(f'{task.title}: fine-tuning with attention')
    start = time.monotonic()
    run_tool(root, 'train.py', task.attention, '--work-dir', str(task.folder(root, 'train')))
    seconds = time.monotonic() - start
    console.rule(f'{task.title}: test with attention')
    after = _test(root, task, task.attention, task.checkpoint(root), 'after')
    return Outcome(before, after, seconds)


def _test(root: Path, task: Task, config: str, checkpoint: str, stage: str) -> float:
    folder = task.folder(root, stage)
    out = folder / task.predictions
    run_tool(root, 'test.py', config, checkpoint, '--work-dir', str(folder), '--out', str(out))
    metrics = json.loads((folder / METRICS_FILE).read_text())
    return metrics[task.metric] / task.unit


def run_tool(root: Path, tool: str, *arguments: str) -> None:
    """Runs a tool as a command and shows its output.

    Args:
        root: The checkout.
        tool: Name of a file in ``tools/``.
        arguments: Its command line.

    Raises:
        UserError: If it fails.
    """
    command = [f'tools/{tool}', *(_relative(argument, root) for argument in arguments)]
    print('$ python', *command, flush=True)
    status = subprocess.run([sys.executable, *command], cwd=root, check=False).returncode
    if status:
        raise UserError(
            f'the demo stopped: `python {" ".join(command)}` exited with status {status}; see its '
            'output above.'
        )


def _relative(argument: str, root: Path) -> str:
    path = Path(argument)
    return str(path.relative_to(root)) if path.is_relative_to(root) else argument


def print_outcomes(
    outcomes: dict[str, Outcome], seconds: float, overview: Path, console: Console
) -> None:
    """Prints the final table.

    Args:
        outcomes: Outcomes by title.
        seconds: Duration of the whole demo.
        overview: Path of the overview image.
        console: Where to print.
    """
    table = Table(title='Trained networks before and after adding attention')
    table.add_column('task')
    for name in ('metric', 'before', 'after', 'training'):
        table.add_column(name, justify='right')
    table.add_column(f'images in {WORK_DIR}')
    for task in TASKS:
        outcome = outcomes[task.title]
        table.add_row(
            task.title.replace(': ', ':\n'),
            task.label,
            f'{outcome.before:.3f}',
            f'{outcome.after:.3f}',
            f'{outcome.seconds:.0f} s',
            f'{task.name}/*.png',
        )
    console.print(table)
    console.print(
        'Before: trained on other scenes, without attention. After: the same weights with ELA, '
        'fine-tuned on these scenes. Fine-tuning contributes to the difference, so this shows that '
        'attention can be added to trained weights, not how much it gains.'
    )
    console.print(f'Overview: {overview}. The demo took {seconds:.0f} s.')
