"""Installs mmela into throw-away environments as its README says, and tries it: `make matrix`.

For each environment: a new venv with its torch, the README's install lines, what they changed,
`mmela doctor`, a short training, its resumption and a test for each task, and the fast tests. The
result becomes a row of the table in docs/install.md. mmcv's wheel is built once and kept in the
cache of `make setup`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tools/setup_env'))

from machine_checks import find_compiler  # noqa: E402
from mmcv_wheel import Build, CudaOps, cache_folder, cached_wheel, wheel_key  # noqa: E402

PAGE = ROOT / 'docs/install.md'
_TABLE = re.compile(r'(<!-- matrix -->\n).*?(<!-- end -->)', re.DOTALL)
_HEADER = (
    'environment', 'Python', 'torch', 'NumPy', 'install changed', 'doctor', 'detection',
    'segmentation', 'classification', 'fast tests', 'date',
)  # fmt: skip
#: The smallest config of each task, and the module that it needs.
TASKS = {
    'detection': ('configs/det/yolox/yolox_nano-ela-t_shapes.py', 'mmdet'),
    'segmentation': ('configs/seg/deeplabv3/deeplabv3_r18-ela-b_shapes.py', 'mmseg'),
    'classification': ('configs/cls/resnet/resnet18-ela-b_clothing.py', 'mmpretrain'),
}


@dataclass(frozen=True)
class Environment:
    """What an environment holds before mmela is installed.

    Attributes:
        name: Of the row, and of the folder.
        python: A command, such as ``python3.11``.
        packages: What a person has there: torch, and perhaps NumPy.
        extra: Of the README's line.
        mmcv: The requirement that the extra resolves to, for the cached wheel.
    """

    name: str
    python: str
    packages: tuple[str, ...]
    extra: str
    mmcv: str


_ORIGINAL = ('torch==2.1.2', 'torchvision==0.16.2', 'numpy<2'), 'openmmlab,openmmlab-cls'
ENVIRONMENTS = {
    e.name: e
    for e in (
        Environment('maintained', 'python3.11', ('torch==2.13.0',), 'onedl', 'onedl-mmcv==2.3.6'),
        Environment('original', 'python3.11', *_ORIGINAL, 'mmcv==2.1.0'),
        Environment('original, old Python', 'python3.10', *_ORIGINAL, 'mmcv==2.1.0'),
        Environment(
            'between', 'python3.12', ('torch==2.6.0', 'torchvision==0.21.0'), 'onedl,onedl-cls',
            'onedl-mmcv==2.3.6',
        ),
        Environment('new Python', 'python3.13', ('torch==2.13.0',), 'onedl', 'onedl-mmcv==2.3.6'),
    )
}  # fmt: skip


@dataclass
class Trial:
    """One environment, being built and tried."""

    environment: Environment
    folder: Path
    log: Path
    row: dict[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        """The interpreter of the environment."""
        return self.folder / 'bin/python'

    def run(self, *words: str | Path, cwd: Path = ROOT) -> tuple[bool, str]:
        """Runs a program of the environment; returns whether it succeeded, and its output."""
        with self.log.open('a') as log:
            log.write(f'\n$ {" ".join(map(str, words))}\n')
        done = subprocess.run(
            [str(word) for word in words],
            cwd=cwd,
            env={
                **os.environ,
                'PATH': f'{self.python.parent}{os.pathsep}{os.environ["PATH"]}',
                'PYTHONPATH': '',
                'CUDA_VISIBLE_DEVICES': '',
                'OMP_NUM_THREADS': '1',
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        with self.log.open('a') as log:
            log.write(done.stdout)
        return done.returncode == 0, done.stdout

    def must(self, *words: str | Path) -> str:
        """Runs a program without which the rest makes no sense."""
        ok, output = self.run(*words)
        if not ok:
            last = (output.strip().splitlines() or ['no output'])[-1]
            raise RuntimeError(f'{" ".join(map(str, words))} failed: {last} (see {self.log})')
        return output

    def freeze(self) -> dict[str, str]:
        """The versions of all distributions."""
        lines = self.must(self.python, '-m', 'pip', 'freeze').splitlines()
        return dict(line.split('==') for line in lines if line.count('==') == 1)

    def build(self) -> None:
        """The environment as a person has it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        ok, _ = self.run(self.environment.python, '-m', 'venv', self.folder)
        if not ok:
            self.row['install changed'] = f'no {self.environment.python} here'
            raise RuntimeError(f'{self.environment.python} makes no environment (see {self.log})')
        self.must(self.python, '-m', 'pip', 'install', *self.environment.packages)

    def install(self) -> None:
        """The README's lines, typed as they stand, with the wheel of mmcv at hand."""
        before = self.freeze()
        first, second = install_lines(self.environment.extra)
        self.must('bash', '-ec', first)
        wheels = self.mmcv_wheel()
        self.must('bash', '-ec', f'PIP_FIND_LINKS={wheels} {second}')
        after = self.freeze()
        changed = [
            f'{name} {before[name]} to {after.get(name, "none")}'
            for name in before
            if before[name] != after.get(name) and name != 'setuptools'
        ]
        self.row['install changed'] = ', '.join(changed) or 'nothing'
        self.row['Python'] = self.must(self.python, '-V').split()[1]
        self.row['torch'], self.row['NumPy'] = after['torch'], after['numpy']

    def mmcv_wheel(self) -> Path:
        """The folder with a wheel of mmcv for this environment, built if the cache has none."""
        asked = 'import sys, torch; print(torch.__version__, f"cpython3{sys.version_info[1]}")'
        torch, tag = self.must(self.python, '-c', asked).splitlines()[-1].split()
        mmcv, compiler, ops = self.environment.mmcv, find_compiler(), CudaOps(wanted=False)
        key = wheel_key(mmcv.partition('==')[2], torch, tag, compiler.identity, ops)
        folder = cache_folder() / 'mmcv' / key
        folder.mkdir(parents=True, exist_ok=True)
        if cached_wheel(folder) is None:
            base = {**os.environ, 'CUDA_VISIBLE_DEVICES': ''}
            build = Build(mmcv, folder, self.python, compiler, torch, ops, base)
            build.run(self.log, lambda text: None)
        return folder

    def try_doctor(self) -> None:
        """`mmela doctor`."""
        _, output = self.run(self.python.with_name('mmela'), 'doctor')
        problems = [line.split()[1] for line in output.splitlines() if line.startswith('PROBLEM')]
        self.row['doctor'] = ', '.join(problems) or 'ok'

    def try_tasks(self) -> None:
        """Two iterations, a test and a resumption for each task, on data made on the spot."""
        work = self.folder / 'work'
        shapes = work / 'shapes'
        self.must(self.python, ROOT / 'tools/dataset_converters/shapes.py', shapes)
        for task, (config, module) in TASKS.items():
            if not self.run(self.python, '-c', f'import {module}')[0]:
                self.row[task] = f'no {module}'
                continue
            data = shapes
            if task == 'classification':
                data = work / 'folders'
                self.must(self.python, '-c', _FOLDERS, data)
            counter = 'max_iters' if task == 'segmentation' else 'max_epochs'
            options = [
                f'data_root={data}', 'load_from=None', 'train_dataloader.batch_size=2',
                'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0',
                'test_dataloader.num_workers=0', 'train_dataloader.dataset.indices=4',
            ]  # fmt: skip
            run = work / task
            tool = [self.python, 'tools/train.py', config, '--work-dir', run, '--cfg-options']
            steps = (1, 2) if counter == 'max_epochs' else (2, 4)
            saved = ['default_hooks.checkpoint.interval=1', f'train_cfg.val_interval={steps[0]}']
            outcome = []
            for name, words in (
                ('train', [*tool, *options, *saved, f'train_cfg.{counter}={steps[0]}']),
                ('resume', [*tool, *options, *saved, f'train_cfg.{counter}={steps[1]}']),
            ):
                if name == 'resume':
                    words.insert(words.index('--cfg-options'), '--resume')
                if not self.run(*words)[0]:
                    outcome.append(name)
            last = run / 'last_checkpoint'
            checkpoint = last.read_text().strip() if last.is_file() else 'missing.pth'
            if not self.run(
                self.python, 'tools/test.py', config, checkpoint, '--work-dir', run / 'tested',
                '--cfg-options', *options[:1], options[5],
            )[0]:  # fmt: skip
                outcome.append('test')
            self.row[task] = f'fails: {", ".join(outcome)}' if outcome else 'ok'

    def try_tests(self) -> None:
        """The fast tests."""
        pip = [self.python, '-m', 'pip', 'install']
        self.must(*pip, '-r', 'requirements/tests.txt', *constraints(self.environment))
        self.must(*pip, '--no-deps', '-r', 'requirements/tests-no-deps.txt')
        _, output = self.run(self.python, '-m', 'pytest', '-q', '-n', '2', '-p', 'no:cacheprovider')
        counts = re.findall(r'(\d+) (failed|passed|error)', output.splitlines()[-1])
        self.row['fast tests'] = ', '.join(f'{n} {what}' for n, what in counts) or 'did not run'


_FOLDERS = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
for split in ('train', 'val', 'test'):
    for name in range(10):
        folder = Path(sys.argv[1], split, f'class{name}')
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(name).integers(0, 255, (80, 80, 3), np.uint8)
        Image.fromarray(pixels).save(folder / 'image.jpg')
"""


def install_lines(extra: str) -> list[str]:
    """The install lines of README.md, with the extra of an environment."""
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    block = re.search(r'```sh\n(pip install .*?)```', text, re.DOTALL)
    assert block is not None, 'README.md has no install lines'
    lines = block[1].strip().splitlines()
    return [re.sub(r"'\.\[[\w,-]+\]'.*", f"'.[{extra}]'", line) for line in lines]


def constraints(environment: Environment) -> list[str]:
    """Keeps what the environment has."""
    return [p for p in environment.packages if p.startswith('numpy')]


def write_row(name: str, row: dict[str, str]) -> None:
    """Writes the row of an environment to the table of the page, and leaves the others."""
    text = PAGE.read_text(encoding='utf-8')
    found = _TABLE.search(text)
    assert found is not None, f'{PAGE} has no <!-- matrix --> table'
    rows = {
        line.split('|')[1].strip(): line
        for line in found[0].splitlines()[4:]
        if line.startswith('|')
    }
    cells = [name, *(row.get(column, 'not tried') for column in _HEADER[1:])]
    rows[name] = '| ' + ' | '.join(cells) + ' |'
    table = ['| ' + ' | '.join(_HEADER) + ' |', '|---' * len(_HEADER) + '|', *rows.values()]
    new = found[1] + '\n' + '\n'.join(table) + '\n\n' + found[2]
    PAGE.write_text(text.replace(found[0], new), encoding='utf-8')


def main() -> int:
    """Tries the environments that are named, or all; exits with 1 if one cannot be built."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'of {", ".join(ENVIRONMENTS)}')
    parser.add_argument('--keep', action='store_true', help='keep the environments')
    parser.add_argument('--folder', type=Path, default=ROOT / 'work_dirs/matrix')
    parser.add_argument('--no-tests', action='store_true', help='leave the fast tests out')
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in ENVIRONMENTS]
    if unknown:
        parser.error(f'expected names of {", ".join(ENVIRONMENTS)}, got {", ".join(unknown)}')
    failed = False
    for name in args.names or ENVIRONMENTS:
        environment = ENVIRONMENTS[name]
        folder = args.folder / re.sub(r'\W+', '-', name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        log = folder.with_suffix('.log')
        log.unlink(missing_ok=True)
        trial = Trial(environment, folder, log)
        print(f'{name}: {" ".join(environment.packages)}, {environment.python}; log {log}')
        try:
            for step in (trial.build, trial.install, trial.try_doctor, trial.try_tasks):
                step()
            if not args.no_tests:
                trial.try_tests()
        except (RuntimeError, OSError) as error:
            print(f'{name}: {error}', file=sys.stderr)
            failed = True
        trial.row['date'] = datetime.date.today().isoformat()
        write_row(name, trial.row)
        print(name, trial.row)
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return int(failed)


if __name__ == '__main__':
    print(platform.platform())
    sys.exit(main())
