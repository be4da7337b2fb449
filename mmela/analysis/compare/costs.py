"""What the entries of a comparison cost, and where it ran."""

from __future__ import annotations

import ast
import json
import platform
import re
from pathlib import Path
from pprint import pformat

from mmengine.config import Config
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
        The counts by entry, without those that cannot be counted: their config names no input
        size, or their network cannot be traced.
    """
    costs = {}
    for entry in spec.entries:
        try:
            costs[entry] = measure(spec.config(entry, 0, 'work_dirs'))
        except Exception as error:  # a column less is better than no comparison
            print(f'no parameters and FLOPs of {entry}: {error}', flush=True)
    return costs


def record(spec_file: str, out: str) -> str:
    """Copies the SPEC to the folder of the comparison and writes ``environment.json``, if new.

    Args:
        spec_file: The file of the comparison; the results that are there must be of it.
        out: Folder of the comparison.

    Returns:
        The copy.

    Raises:
        UserError: If a SPEC with ``_base_`` cannot be written out.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / 'spec.py'
    if copy.resolve() != Path(spec_file).resolve():
        text = Path(spec_file).read_text(encoding='utf-8')
        if re.search(r'^_base_\s*=', text, re.MULTILINE):  # relative to the folder of the SPEC
            text = _written_out(spec_file)
        copy.write_text(text, encoding='utf-8')
    if (folder / ENVIRONMENT).exists():  # where it began; each result names its processor
        return str(copy)
    found = collect_env()
    for key in _NOT_KEPT:
        found.pop(key, None)
    environment = {
        'processor': processor(),
        'system': f'{platform.system()} {platform.machine()}',
        **{key: str(value) for key, value in found.items()},
        'packages': dict(distribution_of(name) for name in _PACKAGES),
    }
    (folder / ENVIRONMENT).write_text(json.dumps(environment, indent=2), encoding='utf-8')
    return str(copy)


def _written_out(spec_file: str) -> str:
    """A SPEC with the names that it has from its ``_base_``."""
    text = ''
    for key, value in Config.fromfile(spec_file).to_dict().items():
        if not key.startswith('_'):
            written = pformat(value, sort_dicts=False)
            try:
                ast.literal_eval(written)
            except (SyntaxError, ValueError):  # inf, or an object of a class
                raise UserError(
                    f'{spec_file}: expected numbers, strings, lists and dicts in {key}, since the '
                    f'runs of a SPEC with _base_ read a copy written out; got {written}. Write the '
                    'SPEC without _base_.'
                ) from None
            text += f'{key} = {written}\n'
    return text


def processor() -> str:
    """The name of the processor: a result is the same to the digit only on the same."""
    info = Path('/proc/cpuinfo')
    found = re.search(r'model name\s*:\s*(.+)', info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor()
