"""The state of an environment: its inputs, the steps done, and whether they are still valid."""

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

# Required distributions, and for some a file that must exist.
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
    """The files of the checkout that determine the contents of an environment."""
    program = sorted((root / 'tools' / 'setup_env').glob('*.py'))
    return [*program, *sorted((root / 'requirements').glob('*.txt')), root / 'setup.py']


def environment_key(torch: str, python: str, venv: Path, files: Iterable[Path]) -> str:
    """A hash of everything that determines an environment.

    Args:
        torch: The requirement for torch.
        python: The version of Python, such as '3.11.7'.
        venv: Folder of the environment (its scripts contain the path).
        files: Files whose contents count, see `deciding_files`.

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
    """The executable of the running Python, outside of any virtual environment."""
    return os.path.realpath(getattr(sys, '_base_executable', '') or sys.executable)


class Environment:
    """A virtual environment and the record of its set-up.

    Args:
        venv: Its folder, which may not exist yet.
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
        """Updates the record and writes it to disk atomically."""
        self.state.update(changes)
        self._record.parent.mkdir(parents=True, exist_ok=True)
        part = self._record.with_suffix('.part')
        part.write_text(json.dumps(self.state, indent=2) + '\n')
        os.replace(part, self._record)

    def start(self, key: str, torch: str, torch_chosen: bool) -> None:
        """Starts a new record with no step done; creates the folder if needed."""
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

    def refuse_foreign(self) -> None:
        """Raises SetupError if the folder has contents that this program did not create."""
        if self.venv.exists() and not self.state and any(self.venv.iterdir()):
            raise SetupError(
                f'{self.venv} exists and was not created by make setup; move it away, or choose '
                'another folder with VENV=.'
            )

    @property
    def site_packages(self) -> Path | None:
        """Its site-packages folder, or None."""
        return next(iter(sorted(self.venv.glob('lib/python3*/site-packages'))), None)

    def distribution(self, name: str) -> str | None:
        """`name-version` of an installed distribution, or None."""
        found = self.site_packages and next(self.site_packages.glob(f'{name}-*.dist-info'), None)
        return found.name[: -len('.dist-info')] if found else None

    def gone(self) -> str:
        """What is missing in a finished environment, without starting its Python; '' if nothing."""
        site = self.site_packages
        if site is None or not os.access(self.python, os.X_OK):
            return 'its Python'
        # An environment of an older set-up may lack new distributions without being damaged.
        for name in self.state.get('distributions', DISTRIBUTIONS):
            if self.distribution(name) is None:
                return name
            file = DISTRIBUTIONS.get(name, '')
            if not (site / file).exists():
                return file
        return '' if any((site / 'mmcv').glob('_ext*.so')) else 'mmcv/_ext'

    def replaced(self) -> str:
        """What changed since the set-up, as the start of a message; '' if nothing."""
        for name, then in self.state.get('distributions', {}).items():
            if self.distribution(name) != then:
                return f'{then} was replaced by {self.distribution(name)}'
        links = ROOT / 'mmela' / '.mim'
        missing = [name for name in MIM if not (links / name).exists()]
        return f'mmela/.mim/{missing[0]} is missing' if missing else ''

    def runs(self) -> bool:
        """Whether its Python and pip can run."""
        if not os.access(self.python, os.X_OK):
            return False
        asked = [str(self.python), '-c', 'import pip']
        return subprocess.run(asked, capture_output=True).returncode == 0

    def remove(self) -> None:
        """Deletes the folder, if this program created it."""
        self.refuse_foreign()
        doomed = self.venv.with_name(self.venv.name + '.removing')
        shutil.rmtree(doomed, ignore_errors=True)  # of an interrupted removal
        if self.venv.exists():
            self.venv.rename(doomed)
            shutil.rmtree(doomed)
        self.state = {}
