"""Requirements of the set-up that are checked before anything is downloaded."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from step_runner import SetupError


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: its command, and its family and version for the cache key."""

    command: str
    identity: str


def find_compiler() -> Compiler:
    """Finds the C++ compiler: `CXX`, or the first common one on the path.

    Raises:
        SetupError: If there is none or it does not run.
    """
    wanted = os.environ.get('CXX', '').strip()
    names = [wanted] if wanted else ['g++', 'c++', 'clang++']
    command = next((path for path in map(shutil.which, names) if path), None)
    if command is None:
        missing = f'CXX={wanted} is not a program' if wanted else 'none was found'
        raise SetupError(
            f'A C++ compiler is needed, but {missing}; install one (Debian, Ubuntu: apt install '
            'g++; Fedora: dnf install gcc-c++; macOS: xcode-select --install) or set CXX=.'
        )
    done = subprocess.run(
        [command, '--version'], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise SetupError(f'The C++ compiler {command} does not run; choose another with CXX=.')
    first = done.stdout.splitlines()[0]
    version = re.search(r'\d+(\.\d+)+', re.sub(r'\(.*?\)', '', first) or first)
    family = 'clang' if 'clang' in first.lower() else 'gcc'
    return Compiler(command, f'{family}{version.group() if version else "unknown"}')


def check_python_parts() -> None:
    """Raises SetupError if this Python lacks its headers or the venv module."""
    version = sysconfig.get_python_version()
    if importlib.util.find_spec('ensurepip') is None:
        raise SetupError(
            f'This Python cannot create a virtual environment; install python{version}-venv '
            '(Debian, Ubuntu), or choose another with make setup PYTHON=.'
        )
    include = Path(sysconfig.get_paths()['include'])
    if not (include / 'Python.h').is_file():
        raise SetupError(
            f"Python's headers are missing ({include}/Python.h); install python{version}-dev "
            '(Debian, Ubuntu) or python3-devel (Fedora), or choose another with PYTHON=.'
        )


def find_nvcc() -> str | None:
    """Finds the nvcc of a complete CUDA toolkit: in CUDA_HOME, on the path or in /usr/local/cuda.

    The nvcc on the path may be a wrapper script; a toolkit also has headers.
    """
    chosen = os.environ.get('CUDA_HOME') or os.environ.get('CUDA_PATH')
    if chosen:
        homes = [Path(chosen)]
    else:
        found = [Path(path) for path in [shutil.which('nvcc')] if path]
        homes = [nvcc.parents[1] for path in found for nvcc in (path, path.resolve())]
        homes.append(Path('/usr/local/cuda'))
    for home in homes:
        if (home / 'bin' / 'nvcc').is_file() and (home / 'include' / 'cuda_runtime.h').is_file():
            return str(home / 'bin' / 'nvcc')
    return None


def cuda_of_nvcc(nvcc: str) -> str:
    """The CUDA version of an nvcc, such as '12.8', or an empty string."""
    done = subprocess.run([nvcc, '--version'], capture_output=True, text=True)
    found = re.search(r'release (\d+\.\d+)', done.stdout)
    return found.group(1) if found else ''
