"""Builds the wheel of mmcv with its compiled ops once per machine and caches it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from machine_checks import Compiler, cuda_of_nvcc, find_nvcc
from step_runner import SetupError, ninja_counter, run

DISTRIBUTION = 'onedl-mmcv'
TORCH_CUDA_HEADERS = 'lib/python3*/site-packages/nvidia/*/include'
OPTIMISATION = (
    '-DNDEBUG -g0 -O2'  # without debug information: a faster build, a wheel 20 times smaller
)


@dataclass(frozen=True)
class Torch:
    """Properties of the installed torch.

    Args:
        version: Version with its local part, such as '2.13.0+cpu'.
        cuda: CUDA version it was built with, or an empty string.
        gpus: Number of visible GPUs.
        capabilities: Compute capabilities of the GPUs, such as ('9.0',).
    """

    version: str
    cuda: str = ''
    gpus: int = 0
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class CudaOps:
    """Whether the CUDA ops are built, for which architectures, and a message for the user."""

    wanted: bool
    architectures: str = ''
    nvcc: str = ''
    sentence: str = ''


def plan_cuda_ops(torch: Torch) -> CudaOps:
    """Plans the CUDA ops, which need a CUDA torch and an nvcc of the same major version."""
    if not torch.cuda or os.environ.get('FORCE_CUDA') == '0':
        return CudaOps(wanted=False)
    lost = (
        "mmcv's ops (NMS, RoIAlign, deformable convolution) will run only on the CPU, so detectors "
        'will not work on the GPU; segmentation networks will. '
    )
    remedy = f'Install the CUDA toolkit {torch.cuda} and run make setup again.'
    nvcc = find_nvcc()
    if nvcc is None:
        return CudaOps(False, sentence=f'nvcc was not found: {lost}{remedy}')
    version = cuda_of_nvcc(nvcc)
    if version.split('.')[0] != torch.cuda.split('.')[0]:
        return CudaOps(
            False, sentence=f'nvcc has CUDA {version}, torch has {torch.cuda}: {lost}{remedy}'
        )
    chosen = os.environ.get('TORCH_CUDA_ARCH_LIST') or ';'.join(sorted(set(torch.capabilities)))
    sentence = ''
    if not chosen:
        sentence = (
            'No GPU is visible, so the CUDA ops are built for every architecture, which is slow; '
            'TORCH_CUDA_ARCH_LIST=9.0, for example, builds for one.'
        )
    return CudaOps(True, chosen, nvcc, sentence)


def cache_folder() -> Path:
    """`MMELA_CACHE`, or `mmela` in `XDG_CACHE_HOME`, or `~/.cache/mmela`."""
    own = os.environ.get('MMELA_CACHE')
    if own:
        return Path(own).expanduser().resolve()
    base = os.environ.get('XDG_CACHE_HOME')
    return (Path(base) if base else Path.home() / '.cache') / 'mmela'


def wheel_key(mmcv: str, torch: str, python: str, compiler: str, cuda_ops: CudaOps) -> str:
    """The readable name of the cache folder for a wheel, which differs with each component."""
    target = 'cpu-ops'
    if cuda_ops.wanted:
        target = f'cuda-ops-{cuda_ops.architectures or "all"}'
    machine = f'{sys.platform}-{platform.machine()}'
    parts = (f'mmcv{mmcv}', f'torch{torch}', python, compiler, target, machine)
    return '_'.join(re.sub(r'[^\w.+-]', '-', part) for part in parts)


def python_tag() -> str:
    """The tag of the running Python, such as 'cp311'."""
    return f'{sys.implementation.name}{sys.version_info[0]}{sys.version_info[1]}{sys.abiflags}'


def available_cpus() -> int:
    """Number of CPUs that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks a folder of the cache against other set-ups; the lock ends with the process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / 'lock').open('w')
    except OSError as error:
        raise SetupError(
            f'The cache folder cannot be written ({error}); choose another with MMELA_CACHE=.'
        ) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def cached_wheel(folder: Path) -> Path | None:
    """The complete wheel in a folder of the cache, or None."""
    for wheel in sorted(folder.glob('*.whl')):
        if holds_ops(wheel):
            return wheel
    return None


def holds_ops(wheel: Path) -> bool:
    """Whether a wheel is readable and has mmcv's compiled extension."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return any(re.match(r'mmcv/_ext.*\.(so|pyd)$', name) for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def standard_for(torch: str) -> dict[str, str]:
    """The C++ standard as an environment variable, if torch needs a newer one than mmcv sets."""
    major, minor = (int(part) for part in torch.split('.')[:2])
    return {'CXX_STANDARD': 'c++20'} if (major, minor) >= (2, 14) else {}


@dataclass(frozen=True)
class Build:
    """One build of the wheel.

    Args:
        requirement: Such as 'onedl-mmcv==2.3.6'.
        folder: Folder of the cache for the wheel.
        python: Python of the environment, with torch and the build tools.
        compiler: The C++ compiler.
        torch: Version of torch.
        cuda_ops: The plan for the CUDA ops.
        base: Environment variables to start from.
    """

    requirement: str
    folder: Path
    python: Path
    compiler: Compiler
    torch: str
    cuda_ops: CudaOps
    base: Mapping[str, str]

    def run(self, log: Path, on_progress: Callable[[str], None]) -> Path:
        """Builds the wheel and moves it into the folder atomically.

        Raises:
            SetupError: If the build fails or makes a wheel without ops.
        """
        for old in self.folder.glob('build-*'):  # of an interrupted build
            shutil.rmtree(old, ignore_errors=True)
        # The build splits compiler commands at spaces.
        place = None if any(blank in str(self.folder) for blank in ' \t') else self.folder
        with tempfile.TemporaryDirectory(prefix='build-', dir=place) as made:
            scratch = Path(made)
            # pip's cache does not distinguish versions of torch and may hold a wheel without ops.
            command = [str(self.python), '-m', 'pip', 'wheel', '-v', '--no-cache-dir', '--no-deps']
            command += ['--no-build-isolation', '--no-binary', DISTRIBUTION]
            command += ['--wheel-dir', str(scratch / 'out'), self.requirement]

            shown = 'preparing'

            def show(text: str) -> None:
                nonlocal shown
                if counter := ninja_counter(text):
                    shown = counter
                elif shown == 'preparing' and (scratch / 'header' / 'torch_headers.h').exists():
                    shown = "precompiling torch's headers"
                on_progress(shown)

            run(command, log, env=self.environment(scratch), on_output=show)
            wheel = next((scratch / 'out').glob('*.whl'))
            if not holds_ops(wheel):
                raise SetupError('The wheel of mmcv was built without its compiled ops.', log)
            part = self.folder / f'{wheel.name}.part'
            shutil.copyfile(wheel, part)
            return part.replace(self.folder / wheel.name)

    def environment(self, scratch: Path) -> dict[str, str]:
        """The environment variables of the build; writes the compiler wrappers to `scratch`."""
        header = scratch / 'header'
        header.mkdir()

        def wrapper(name: str, compiler: str) -> str:
            words = (sys.executable, Path(__file__).with_name('pch_compiler.py'), compiler, header)
            quoted = ' '.join(shlex.quote(str(word)) for word in words)
            (scratch / name).write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
            (scratch / name).chmod(0o755)
            return str(scratch / name)

        env = dict(self.base)
        env['PATH'] = f'{self.python.parent}{os.pathsep}{env.get("PATH", "")}'
        env['CXX'] = wrapper('g++', self.compiler.command)
        env.update(standard_for(self.torch))
        env['CFLAGS'] = f'{OPTIMISATION} {env.get("CFLAGS", "")}'.strip()
        env['TMPDIR'] = str(scratch)
        env.setdefault('MAX_JOBS', str(available_cpus()))
        if self.cuda_ops.wanted:
            env['FORCE_CUDA'] = '1'
            env['CUDA_HOME'] = str(Path(self.cuda_ops.nvcc).parents[1])
            env['PYTORCH_NVCC'] = wrapper('nvcc', self.cuda_ops.nvcc)
            # A toolkit may lack headers such as cuSPARSE's; those of torch's packages come last.
            own = sorted(map(str, self.python.parents[1].glob(TORCH_CUDA_HEADERS)))
            env['CPATH'] = os.pathsep.join([*filter(None, [env.get('CPATH')]), *own])
            if self.cuda_ops.architectures:
                env['TORCH_CUDA_ARCH_LIST'] = self.cuda_ops.architectures
        else:
            env['FORCE_CUDA'] = '0'
            env['CUDA_VISIBLE_DEVICES'] = ''  # with a visible GPU mmcv would build CUDA ops
        return env
