"""Puts the configs, the tools and the model index where MMEngine and MIM look: `mmela/.mim`.

A wheel gets copies. An editable installation gets links in the checkout, so that an edited config
counts at once. All else about the package stands in pyproject.toml.
"""

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.develop import develop

ROOT = Path(__file__).resolve().parent
SHARED = ('configs', 'tools', 'model-index.yml')
LEFT_OUT = shutil.ignore_patterns('__pycache__', '*.pyc', 'setup_env')


def link_shared_files():
    """Makes `mmela/.mim` in the checkout, with links to what lies at its root."""
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
    """Pairs of a file at the root and its place below `mim`."""
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
    """`pip install .` and wheels: copies. `pip install -e .` of a current pip: links."""

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
    """`setup.py develop` and the editable installation of an old pip: links."""

    def run(self):
        link_shared_files()
        super().run()


setup(cmdclass={'build_py': BuildWithSharedFiles, 'develop': DevelopWithSharedFiles})
