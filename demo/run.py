"""The demo: two trained networks get ELA by a ``plugins`` entry and are fine-tuned with it.

Everything runs as a person would run it, through ``tools/train.py`` and ``tools/test.py``.
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

from mmela.engine.metrics import METRICS_FILE
from mmela.errors import UserError


@dataclass(frozen=True)
class Task:
    """What the demo does with one network.

    Attributes:
        title: What it is called on screen.
        plain: Config of the network without attention.
        attention: Config of the network with it; loads ``weights``.
        weights: The trained network without attention.
        metric: Name in ``metrics.json``.
        unit: What the metric is to be divided by to be a fraction.
        label: What the metric is called on screen.
        predictions: What test.py's ``--out`` is to be called.
    """

    title: str
    plain: str
    attention: str
    weights: str
    metric: str
    unit: float
    label: str
    predictions: str


DATA_ROOT = 'data/shapes'
WORK_DIR = 'work_dirs/demo'
TASKS = (
    Task(
        title='detection: YOLOX-Nano + ELA-T',
        plain='configs/det/yolox/yolox_nano_shapes.py',
        attention='configs/det/yolox/yolox_nano-ela-t_shapes.py',
        weights='weights/yolox_nano_shapes.pth',
        metric='coco/bbox_mAP_50',
        unit=1,
        label='AP50',
        predictions='predictions.pkl',
    ),
    Task(
        title='segmentation: DeepLabV3 + ELA-B',
        plain='configs/seg/deeplabv3/deeplabv3_r18_shapes.py',
        attention='configs/seg/deeplabv3/deeplabv3_r18-ela-b_shapes.py',
        weights='weights/deeplabv3_r18_shapes.pth',
        metric='mIoU',
        unit=100,
        label='mIoU',
        predictions='predictions',
    ),
)


@dataclass
class Outcome:
    """What came of a task.

    Attributes:
        before: The metric of the plain network, as a fraction.
        after: The metric with attention after fine-tuning.
        seconds: How long the fine-tuning took, start of the process included.
    """

    before: float
    after: float
    seconds: float


def run_demo(root: Path) -> dict[str, Outcome]:
    """Runs the demo and prints its table.

    Args:
        root: The checkout: the folder with ``configs/``, ``tools/`` and ``weights/``. Data and
            results go below it.

    Returns:
        The outcome of each task by its title.

    Raises:
        UserError: If a step failed; what it printed is on the screen by then.
    """
    start = time.monotonic()
    console = Console()
    console.rule('the data')
    make_data(root)
    outcomes = {}
    for task in TASKS:
        outcomes[task.title] = _run_task(root, task, console)
    console.rule('pictures')
    # The toolboxes are needed from here on, and not before.
    from demo.pictures import draw_all

    overview = draw_all(root)
    print_outcomes(outcomes, time.monotonic() - start, overview, console)
    return outcomes


def make_data(root: Path) -> None:
    """Renders the data set of the demo, unless it is there.

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


def result_folder(root: Path, task: Task, stage: str) -> Path:
    """The work dir of one step.

    Args:
        root: The checkout.
        task: The task.
        stage: ``'before'``, ``'train'`` or ``'after'``.

    Returns:
        The folder.
    """
    return root / WORK_DIR / task.title.partition(':')[0] / stage


def _run_task(root: Path, task: Task, console: Console) -> Outcome:
    console.rule(f'{task.title}: the trained network as it is, without attention')
    before = _test(root, task, task.plain, task.weights, 'before')
    console.rule(f'{task.title}: fine-tuning with attention')
    start = time.monotonic()
    folder = result_folder(root, task, 'train')
    run_tool(root, 'train.py', task.attention, '--work-dir', str(folder))
    seconds = time.monotonic() - start
    checkpoint = (folder / 'last_checkpoint').read_text().strip()
    console.rule(f'{task.title}: the test after it')
    after = _test(root, task, task.attention, checkpoint, 'after')
    return Outcome(before, after, seconds)


def _test(root: Path, task: Task, config: str, checkpoint: str, stage: str) -> float:
    folder = result_folder(root, task, stage)
    out = folder / task.predictions
    run_tool(root, 'test.py', config, checkpoint, '--work-dir', str(folder), '--out', str(out))
    metrics = json.loads((folder / METRICS_FILE).read_text())
    return metrics[task.metric] / task.unit


def run_tool(root: Path, tool: str, *arguments: str) -> None:
    """Runs a tool as a command, its output on the screen.

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
            f'the demo stopped: `python {" ".join(command)}` ended with status {status}, and says '
            'why above.'
        )


def _relative(argument: str, root: Path) -> str:
    path = Path(argument)
    return str(path.relative_to(root)) if path.is_relative_to(root) else argument


def print_outcomes(
    outcomes: dict[str, Outcome], seconds: float, overview: Path, console: Console
) -> None:
    """Prints the closing table.

    Args:
        outcomes: Outcomes by title.
        seconds: How long the whole demo took.
        overview: The picture that sums it up.
        console: Where to print.
    """
    table = Table(title='A trained network, before and after it was given attention')
    table.add_column('task')
    for name in ('metric', 'before', 'after', 'training'):
        table.add_column(name, justify='right')
    table.add_column(f'pictures in {WORK_DIR}')
    for task in TASKS:
        outcome = outcomes[task.title]
        name, network = task.title.split(': ')
        table.add_row(
            f'{name}:\n{network}',
            task.label,
            f'{outcome.before:.3f}',
            f'{outcome.after:.3f}',
            f'{outcome.seconds:.0f} s',
            f'{name}/*.png',
        )
    console.print(table)
    console.print(
        'Before: trained elsewhere, no attention. After: the same weights with ELA, fine-tuned on '
        'these scenes; fine-tuning has a share in the difference, so this shows that attention '
        'can be added, not what it is worth.'
    )
    console.print(f'Everything at a glance: {overview}. The whole demo took {seconds:.0f} s.')
