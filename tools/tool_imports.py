"""Imports for the tools, with one sentence if mmela or its checkout is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The checkout, or `mmela/.mim` in an installation, which has copies of `configs` and `tools` only.
ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def mmela_imports(checkout: bool = False) -> Iterator[None]:
    """Turns a failed import of mmela inside the block into a message and exit status 2.

    Args:
        checkout: Whether the block imports `benchmarks` or `demo`, which are only in a checkout.

    Raises:
        SystemExit: With status 2, if there is no checkout or if mmela cannot be imported.
    """
    if checkout:
        if not (ROOT / 'benchmarks').is_dir() or not (ROOT / 'demo').is_dir():
            _exit(
                f'{Path(sys.argv[0]).name} needs a checkout of mmela: benchmarks/ and demo/ are '
                'not part of the installed package. Clone the repository and run it from there.'
            )
        sys.path.insert(0, str(ROOT))
    try:
        yield
    except ImportError as error:
        source = f'-e {ROOT}' if (ROOT / 'pyproject.toml').is_file() else 'mmela'
        fix = (
            f'; install it with `pip install {source}`'
            if error.name in ('mmela', 'mmela_cli')
            else ''
        )
        _exit(f'mmela cannot be imported: {error}{fix}')


def _exit(message: str) -> None:
    print(f'error: {message}', file=sys.stderr)
    raise SystemExit(2)
