"""What is known about an environment: what decides it, what was done, whether that holds."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from step_runner import SetupError

ROOT = Path(__file__).resolve().parents[2]

# The distributions that must be there, and a file without which one is of no use.
DISTRIBUTIONS = {
    'torch': '',
    'torchvision': '',
    'onedl_mmcv': 'mmcv/ops',
    'onedl_mmengine': '',
    'onedl_mmdetection': 'mmdet/.mim/model-index.yml',
    'onedl_mmsegmentation': 'mmseg/.mim/model-index.yml',
    'onedl_mmpretrain': 'mmpretrain/.mim/model-index.yml',
    'opencv_python_headless': 'cv2/__init__.py',
    'mmela': '',
    'pytest': '',
    'ruff': '',
    'mypy': '',
}
MIM = ('configs', 'tools', 'model-index.yml')


def deciding_files(root: Path = ROOT) -> list[Path]:
    """The files of the checkout that decide what an environment holds."""
    program = sorted((root / 'tools' / 'setup_env').glob('*.py'))
    return [*program, *sorted((root / 'requirements').glob('*.txt')), root / 'setup.py']


def environment_key(torch: str, python: str, venv: Path, files: Iterable[Path]) -> str:
    """A hash of everything that decides an environment.

    Args:
        torch: The requirement that torch is installed by.
        python: The version of Python, such as '3.11.7'.
        venv: Where the environment lies (its scripts name the place).
        files: The files whose content decides, see `deciding_files`.

    Returns:
        A hexadecimal hash.
    """
    digest = hashlib.sha256()
    for part in (torch, python, str(venv), str(ROOT)):
        digest.update(part.encode() + b'\0')
    for path in files:
        digest.update(path.name.encode() + b'\0' + path.read_bytes() + b'\0')
    return digest.hexdigest()


def running_python() -> str:
    """The version of the running Python, such as '3.11.7'."""
    return '.'.join(map(str, sys.version_info[:3]))


def base_python() -> str:
    """The program of the running Python, below any virtual environment."""
    return os.path.realpath(getattr(sys, '_base_executable', '') or sys.executable)


class Environment:
    """A virtual environment and the record that the set-up keeps in it.

    Args:
        venv: Its folder; need not exist.
    """

    def __init__(self, venv: Path) -> None:
        self.venv = venv
        self.python = venv / 'bin' / 'python'
        self.logs = venv / 'setup' / 'logs'
        self._record = venv / 'setup' / 'state.json'
        self.state: dict = self._read()

    def _read(self) -> dict:
        try:
            return json.loads(self._record.read_text())
        except (OSError, ValueError):
            return {}

    def write(self, **changes: object) -> None:
        """Changes the record, on the disk too, at one stroke."""
        self.state.update(changes)
        self._record.parent.mkdir(parents=True, exist_ok=True)
        part = self._record.with_suffix('.part')
        part.write_text(json.dumps(self.state, indent=2) + '\n')
        os.replace(part, self._record)

    def start(self, key: str, torch: str, torch_chosen: bool) -> None:
        """Begins a record, in a new folder if need be; nothing counts as done."""
        self.state = {}
        self.write(
            key=key,
            torch=torch,
            torch_chosen=torch_chosen,
            python=running_python(),
            base_python=base_python(),
            done=[],
            running=None,
            complete=False,
        )

    @property
    def foreign(self) -> bool:
        """Whether there is something that this program did not make."""
        return self.venv.exists() and not self.state and any(self.venv.iterdir())

    @property
    def site_packages(self) -> Path | None:
        """Its site-packages folder, or None."""
        return next(iter(sorted(self.venv.glob('lib/python3*/site-packages'))), None)

    def distribution(self, name: str) -> str | None:
        """`name-version` of an installed distribution, or None."""
        found = self.site_packages and next(self.site_packages.glob(f'{name}-*.dist-info'), None)
        return found.name[: -len('.dist-info')] if found else None

    def gone(self) -> str:
        """What a finished environment lacks, looked up without starting Python; '' if nothing."""
        site = self.site_packages
        if site is None or not os.access(self.python, os.X_OK):
            return 'its Python'
        # One that an older set-up finished lacks what is new, which is no reason to mistrust it.
        for name in self.state.get('distributions', DISTRIBUTIONS):
            if self.distribution(name) is None:
                return name
            file = DISTRIBUTIONS.get(name, '')
            if not (site / file).exists():
                return file
        return '' if any((site / 'mmcv').glob('_ext*.so')) else 'mmcv/_ext'

    def replaced(self) -> str:
        """What has changed in it since the set-up, as a sentence's beginning; '' if nothing."""
        for name, then in self.state.get('distributions', {}).items():
            if self.distribution(name) != then:
                return f'{self.distribution(name)} has taken the place of {then}'
        links = ROOT / 'mmela' / '.mim'
        missing = [name for name in MIM if not (links / name).exists()]
        return f'mmela/.mim/{missing[0]} is gone' if missing else ''

    def runs(self) -> bool:
        """Whether its Python and pip can be started."""
        if not os.access(self.python, os.X_OK):
            return False
        asked = [str(self.python), '-c', 'import pip']
        return subprocess.run(asked, capture_output=True).returncode == 0

    def remove(self) -> None:
        """Deletes the folder, which this program made."""
        if self.foreign:
            raise SetupError(
                f'{self.venv} exists and was not made by make setup: move it away, or name '
                'another folder with VENV=.'
            )
        doomed = self.venv.with_name(self.venv.name + '.removing')
        shutil.rmtree(doomed, ignore_errors=True)  # of a removal that was cut off
        if self.venv.exists():
            self.venv.rename(doomed)
            shutil.rmtree(doomed)
        self.state = {}
