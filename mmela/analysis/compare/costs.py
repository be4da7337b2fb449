"""What the entries of a comparison cost, and where it ran."""

from __future__ import annotations

import json
import platform
import re
import shutil
from pathlib import Path

from mmengine.utils.dl_utils import collect_env

from mmela.analysis.compare.spec import Spec
from mmela.analysis.complexity import Complexity, measure
from mmela.distributions import DISTRIBUTIONS, distribution_of
from mmela.errors import UserError

ENVIRONMENT = 'environment.json'
#: A random number, and a page of compiler flags.
_NOT_KEPT = ('numpy_random_seed', 'PyTorch compiling details')
_PACKAGES = ('mmela', 'torch', *DISTRIBUTIONS)


def costs_of(spec: Spec) -> dict[str, Complexity]:
    """Counts parameters and FLOPs of each entry.

    Args:
        spec: The comparison.

    Returns:
        The counts by entry, without those whose config names no input size.
    """
    costs = {}
    for entry in spec.entries:
        try:
            costs[entry] = measure(spec.config(entry, 0, 'work_dirs'))
        except UserError:
            continue
    return costs


def record(spec_file: str, out: str) -> None:
    """Copies the SPEC to the folder of the comparison and writes ``environment.json``.

    Args:
        spec_file: The file of the comparison.
        out: Folder of the comparison.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / 'spec.py'
    if copy.resolve() != Path(spec_file).resolve():
        shutil.copyfile(spec_file, copy)
    found = collect_env()
    for key in _NOT_KEPT:
        found.pop(key, None)
    environment = {
        'processor': _processor(),
        'system': f'{platform.system()} {platform.machine()}',
        **{key: str(value) for key, value in found.items()},
        'packages': dict(distribution_of(name) for name in _PACKAGES),
    }
    (folder / ENVIRONMENT).write_text(json.dumps(environment, indent=2), encoding='utf-8')


def _processor() -> str:
    info = Path('/proc/cpuinfo')
    found = re.search(r'model name\s*:\s*(.+)', info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor()
