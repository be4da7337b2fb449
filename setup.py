"""Adds configs, tools and the model index to `mmela/.mim`, where MMEngine and MIM look for them.

A wheel gets copies; an editable installation gets links, so that edited configs take effect.
Everything else about the package is in pyproject.toml.
"""

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.develop import develop

ROOT = Path(__file__).resolve().parent
SHARED = ('configs', 'tools', 'model-index.yml')
LEFT_OUT = shutil.ignore_patterns('__pycache__', '*.pyc', 'setup_env', 'matrix.py')


def link_shared_files():
    """Creates `mmela/.mim` in the checkout, with links to its root."""
    mim = ROOT / 'mmela' / '.mim'
    mim.mkdir(exist_ok=True)
    for name in SHARED:
        link, target = mim / name, Path(os.pardir, os.pardir, name)
        if link.is_symlink() or link.is_file():
            link.unlink()
        elif link.is_dir():
            shutil.rmtree(link)
        link.symlink_to(target)


def copied_files(mim):
    """Yields each shared file and its path in `mim`."""
    for name in SHARED:
        source = ROOT / name
        if source.is_file():
            yield source, mim / name
        for folder, folders, files in os.walk(source):
            left_out = LEFT_OUT(folder, folders + files)
            folders[:] = sorted(set(folders) - left_out)
            for file in sorted(set(files) - left_out):
                path = Path(folder, file)
                yield path, mim / path.relative_to(ROOT)


class BuildWithSharedFiles(build_py):
    """Copies for `pip install .` and wheels, links for `pip install -e .` of a current pip."""

    def run(self):
        super().run()
        if self.editable_mode:
            link_shared_files()
            return
        for source, target in copied_files(Path(self.build_lib, 'mmela', '.mim')):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)

    def get_outputs(self, include_bytecode=True):
        outputs = super().get_outputs(include_bytecode)
        if self.editable_mode:
            return outputs
        mim = Path(self.build_lib, 'mmela', '.mim')
        return outputs + [str(target) for _, target in copied_files(mim)]


class DevelopWithSharedFiles(develop):
    """Links for `setup.py develop` and editable installations of an old pip."""

    def run(self):
        link_shared_files()
        super().run()


setup(cmdclass={'build_py': BuildWithSharedFiles, 'develop': DevelopWithSharedFiles})
