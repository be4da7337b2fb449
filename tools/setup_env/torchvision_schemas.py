"""Lets `import torchvision` succeed where torchvision's compiled operators cannot be loaded.

PyPI's torchvision for Linux is a CUDA build. Beside a CPU torch its operators cannot be loaded.
torchvision bears that, and all that is written in Python works, but for one slip: it describes two
of the operators to torch (`register_fake`) without asking whether they are there, and the import
ends in 'operator torchvision::nms does not exist'. MMPreTrain needs torchvision's transforms and
none of its operators, and MMDetection and MMSegmentation import MMPreTrain where it is installed,
so that all three go down with it. MMEngine's report on the environment does too.

The cure is to declare the schemas of the two operators, without any kernel, in the moment before
torchvision describes them. At that moment torchvision has tried to load its operators, so that it
is known whether they are there: where they are, nothing is declared. An operator that is called
after all ends in torchvision's own sentence, "Couldn't load custom C++ ops".

It has to come before the first `import torchvision` of every process, those that never heard of
mmela too. So it is no part of mmela: the set-up copies this file into the site-packages of its
environment, with a .pth file that has Python run it at the start, and does so only where the import
fails without it. By hand, for an environment of your own, where no index offers a torchvision that
fits your torch:

    PYTHON_OF_THE_ENVIRONMENT tools/setup_env/torchvision_schemas.py
"""

import sys
from pathlib import Path

# Imported at each start of Python: nothing heavy above this line, torch least of all.

NAME = 'torchvision_schemas'
OPERATORS = ('nms', 'qnms')
SIGNATURE = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
DESCRIBES = 'torchvision._meta_registrations'  # what torchvision imports after its operators

_libraries = []  # what a Library declares is gone when nobody holds it any longer


class BeforeDescription:
    """First of Python's finders: finds nothing, and acts when `DESCRIBES` is looked for."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == DESCRIBES:
            declare_missing()
        return None


def declare_missing():
    """Declares the schemas of `OPERATORS` unless torchvision's operators are there."""
    import torch

    if hasattr(torch.ops.torchvision, 'nms'):
        return
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for operator in OPERATORS:
        library.define(operator + SIGNATURE)
    _libraries.append(library)


def activate():
    """Called by the .pth file."""
    if BeforeDescription not in sys.meta_path:
        sys.meta_path.insert(0, BeforeDescription)


def install(site_packages):
    """Puts this file, and the one that runs it at each start, into an environment."""
    folder = Path(site_packages)
    (folder / f'{NAME}.py').write_bytes(Path(__file__).read_bytes())
    (folder / f'{NAME}.pth').write_text(f'import {NAME}; {NAME}.activate()\n')


def remove(site_packages):
    """Undoes `install`."""
    for ending in ('.pth', '.py'):
        Path(site_packages, NAME + ending).unlink(missing_ok=True)


if __name__ == '__main__':
    import sysconfig

    install(sysconfig.get_path('purelib'))
    print(f'{NAME} is installed in {sysconfig.get_path("purelib")}')
