"""The steps of the set-up in order."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import mmcv_wheel
import torchvision_schemas
from env_state import ROOT, Environment
from machine_checks import find_compiler, find_nvcc
from mmcv_wheel import Torch, plan_cuda_ops
from step_runner import Screen, SetupError, last_line, run

REQUIREMENTS = ROOT / 'requirements'
CONSTRAINTS = REQUIREMENTS / 'constraints.txt'
# Steps that install nothing: an environment interrupted in one of them is still valid.
HARMLESS = (None, 'mmcv', 'check')
ASK_TORCH = """
import json, torch
gpus = torch.cuda.device_count() if torch.version.cuda else 0
found = ['%d.%d' % torch.cuda.get_device_capability(i) for i in range(gpus)]
print(json.dumps([torch.__version__, torch.version.cuda or '', gpus, found]))
"""


def read_requirement(name: str, distribution: str) -> str:
    """The line of a requirements file that starts with the name of a distribution."""
    for line in (REQUIREMENTS / name).read_text().splitlines():
        if line.strip().startswith(distribution):
            return line.split('#')[0].strip()
    raise SetupError(f'requirements/{name} has no line for {distribution}.')


def clean_environ() -> dict[str, str]:
    """The environment variables of all commands, without those that redirect pip or Python."""
    env = dict(os.environ)
    for name in ('PYTHONPATH', 'PYTHONHOME', 'PIP_USER', 'PIP_TARGET', 'PIP_PREFIX', 'VIRTUAL_ENV'):
        env.pop(name, None)
    # Compiling modules that are never imported would take a third of an installation's time.
    return env | {
        'PIP_NO_COMPILE': '1',
        'PYTHONNOUSERSITE': '1',
        'PIP_NO_INPUT': '1',
        'PIP_DISABLE_PIP_VERSION_CHECK': '1',
    }


class Setup:
    """Runs the steps on an environment.

    Args:
        environment: The environment to fill.
        torch: The requirement for torch.
    """

    def __init__(self, environment: Environment, torch: str) -> None:
        self.environment = environment
        self.torch_requirement = torch
        self.env = clean_environ()
        self.compiler = find_compiler()
        self.steps: list[tuple[str, str, Callable[[], str]]] = [
            ('venv', f'virtual environment {environment.venv.name}', self.make_venv),
            ('build-tools', 'pip and build tools', self.install_build_tools),
            ('torch', torch, self.install_torch),
            ('torchvision', 'the matching torchvision', self.install_torchvision),
            ('mmcv', 'wheel of mmcv with compiled ops', self.make_mmcv_wheel),
            (
                'toolboxes',
                'MMEngine, MMDetection, MMSegmentation, MMPreTrain',
                self.install_toolboxes,
            ),
            ('tests', 'tools for tests and lint', self.install_test_tools),
            ('mmela', 'mmela, editable', self.install_mmela),
            ('check', 'check of the environment', self.check),
        ]
        self.screen = Screen(len(self.steps))
        self.name = ''

    def run(self) -> None:
        """Runs every step that is not done yet.

        Raises:
            SetupError: If a step fails; the steps before it stay done.
        """
        for name, title, step in self.steps:
            self.name = name
            done = self.environment.state['done']
            self.screen.begin(title)
            if self.name in done:
                self.screen.end('done before')
                continue
            self.log.unlink(missing_ok=True)
            self.environment.write(running=self.name)
            try:
                outcome = step()
            except SetupError as error:
                # pip rolls back a failed installation, so the next run can continue here.
                self.environment.write(running=None)
                raise type(error)(f'Step "{title}" failed: {error}', error.log) from error
            self.screen.end(outcome)
            self.environment.write(running=None, done=[*done, self.name])

    @property
    def log(self) -> Path:
        """The log of the current step."""
        return self.environment.logs / f'{self.name}.log'

    def command(self, *arguments: str) -> None:
        """Runs the environment's Python and shows the last line of the log as progress."""
        run(
            [str(self.environment.python), *arguments],
            self.log,
            env=self.env,
            cwd=ROOT,
            on_output=lambda text: self.screen.progress(last_line(text)),
        )

    def pip(self, *arguments: str) -> None:
        """Installs with pip under the constraints."""
        self.command(
            *('-m', 'pip', 'install', '--progress-bar', 'off', '-c', str(CONSTRAINTS)), *arguments
        )

    def version(self, name: str) -> str:
        """The installed version of a distribution."""
        return (self.environment.distribution(name) or '-').split('-', 1)[1]

    # -- the steps: each returns the text that is shown after its title --

    def make_venv(self) -> str:
        run(
            [sys.executable, '-m', 'venv', str(self.environment.venv)],
            self.log,
            env=self.env,
            on_output=lambda text: self.screen.progress(''),
        )
        return f'Python {self.environment.state["python"]}'

    def install_build_tools(self) -> str:
        self.pip('--upgrade', 'pip', '-r', str(REQUIREMENTS / 'build.txt'))
        return f'pip {self.version("pip")}, setuptools {self.version("setuptools")}'

    def install_torch(self) -> str:
        try:
            self.pip(self.torch_requirement)
        except SetupError as error:
            raise type(error)(f'{error} TORCH= selects another version.', error.log) from error
        return self.ask_torch().version

    def ask_torch(self) -> Torch:
        """The version and CUDA support of the installed torch."""
        answer = self.log.with_name('torch-version.log')
        answer.unlink(missing_ok=True)
        run([str(self.environment.python), '-c', ASK_TORCH], answer, env=self.env)
        version, cuda, gpus, capabilities = json.loads(answer.read_text().splitlines()[-1])
        return Torch(version, cuda, gpus, tuple(capabilities))

    def torch_pin(self) -> list[str]:
        """Options of pip that keep the installed torch."""
        pin = self.log.with_name('torch-pin.txt')
        pin.write_text(f'torch=={self.version("torch")}\n')
        return ['-c', str(pin)]

    def install_torchvision(self) -> str:
        self.pip(*self.torch_pin(), 'torchvision')
        site_packages = self.environment.site_packages
        assert site_packages is not None, 'pip has just installed into it'
        torchvision_schemas.remove(site_packages)
        if self.ask_torch().cuda or self.can_import('torchvision'):
            return self.version('torchvision')
        torchvision_schemas.install(site_packages)
        return f'{self.version("torchvision")}, without its operators, which do not fit this torch'

    def can_import(self, module: str) -> bool:
        """Whether the environment can import a module; a failure is in the log."""
        try:
            self.command('-c', f'import {module}')
        except SetupError:
            return False
        return True

    def make_mmcv_wheel(self) -> str:
        wheel, fresh = self.mmcv_wheel()
        return f'built, kept in {wheel.parent}' if fresh else 'from the cache'

    def mmcv_wheel(self) -> tuple[Path, bool]:
        """The wheel of mmcv, and whether it was built now."""
        requirement = read_requirement('constraints.txt', mmcv_wheel.DISTRIBUTION)
        torch = self.ask_torch()
        cuda_ops = plan_cuda_ops(torch)
        if cuda_ops.sentence and self.name == 'mmcv':
            self.screen.note(cuda_ops.sentence)
        self.environment.write(wants_nvcc=bool(torch.cuda) and find_nvcc() is None)
        key = mmcv_wheel.wheel_key(
            requirement.split('==')[1],
            torch.version,
            mmcv_wheel.python_tag(),
            self.compiler.identity,
            cuda_ops,
        )
        folder = mmcv_wheel.cache_folder() / 'mmcv' / key
        with mmcv_wheel.locked(folder):
            wheel = mmcv_wheel.cached_wheel(folder)
            if wheel:
                return wheel, False
            job = mmcv_wheel.Build(
                requirement,
                folder,
                self.environment.python,
                self.compiler,
                torch.version,
                cuda_ops,
                self.env,
            )
            try:
                return job.run(self.log, self.screen.progress), True
            except SetupError as error:
                hint = ' FORCE_CUDA=0 make setup builds the CPU ops alone.' * cuda_ops.wanted
                raise type(error)(f'{error}{hint}', error.log) from error

    def install_toolboxes(self) -> str:
        self.pip('--force-reinstall', '--no-deps', str(self.mmcv_wheel()[0]))
        files = [f'-r{REQUIREMENTS / name}' for name in ('onedl.txt', 'onedl-cls.txt')]
        self.pip(*self.torch_pin(), '--no-build-isolation', *files)
        # Both builds of OpenCV are dependencies and share one folder, so the last one installed
        # counts: the headless build needs no libGL, which servers and containers lack.
        headless = f'opencv-python-headless=={self.version("opencv_python_headless")}'
        self.pip('--force-reinstall', '--no-deps', headless)
        names = ('onedl_mmengine', 'onedl_mmdetection', 'onedl_mmsegmentation', 'onedl_mmpretrain')
        return ', '.join(map(self.version, names))

    def install_test_tools(self) -> str:
        files = [f'-r{REQUIREMENTS / name}' for name in ('tests.txt', 'triton.txt')]
        self.pip(*self.torch_pin(), *files)
        self.pip('--no-deps', '-r', str(REQUIREMENTS / 'tests-no-deps.txt'))
        return ', '.join(f'{name} {self.version(name)}' for name in ('pytest', 'ruff', 'mypy'))

    def install_mmela(self) -> str:
        self.pip('--no-deps', '--no-build-isolation', '-e', str(ROOT))
        return self.version('mmela')

    def check(self) -> str:
        try:
            self.command(str(Path(__file__).with_name('selfcheck.py')))
        except SetupError as error:
            hint = 'If the log does not help, run make clean and make setup.'
            raise type(error)(f'{error} {hint}', error.log) from error
        gone = self.environment.gone()
        if problem := f'{gone} is missing' if gone else self.environment.replaced():
            raise SetupError(f'{problem}; run make clean and make setup.', self.log)
        return 'yes'
