"""What is checked before a run starts.

Each check is a function ``check_*(cfg, splits)`` that raises a
:class:`~mmela.errors.UserError` or logs a warning. ``splits`` names the data that the run uses:
``('train', 'val')`` or ``('train',)`` in training, ``('test',)`` in a test. To add a check, write
it in a file of this folder and list it below; :mod:`mmela.engine.dataset_configs` iterates over the
data sets and evaluators of a config with their keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mmengine.config import Config

from mmela.engine.checks.classification import check_class_folders, check_topk
from mmela.engine.checks.data import check_paths
from mmela.engine.checks.dataset import check_dataset_content
from mmela.engine.checks.environment import check_packages
from mmela.engine.checks.plugins import check_plugins
from mmela.engine.checks.settings import check_precision, check_required_keys
from mmela.engine.checks.weights import check_weights
from mmela.engine.checks.work_dir import check_work_dir

Check = Callable[[Config, Sequence[str]], None]

#: The checks that look for the data; ``--no-data-check`` leaves them out.
DATA_CHECKS: tuple[Check, ...] = (check_paths, check_class_folders, check_topk)
#: Every check in the order in which they run. Before `check_packages` no toolbox is imported.
CHECKS: tuple[Check, ...] = (
    check_required_keys,
    check_work_dir,
    *DATA_CHECKS,
    check_packages,
    check_precision,
    check_dataset_content,
    check_plugins,
    check_weights,
)


def run_checks(cfg: Config, splits: Sequence[str], data_check: bool = True) -> None:
    """Runs :data:`CHECKS` on a config.

    Raises:
        UserError: By the first check that fails.
    """
    for check in CHECKS:
        if data_check or check not in (*DATA_CHECKS, check_dataset_content):
            check(cfg, splits)


def check_data(cfg: Config, splits: Sequence[str]) -> None:
    """Runs :data:`DATA_CHECKS` alone.

    Raises:
        UserError: If data is missing or does not fit the config.
    """
    for check in DATA_CHECKS:
        check(cfg, splits)
