"""Lets `import torchvision` succeed if torchvision's compiled operators cannot be loaded.

PyPI's torchvision for Linux is a CUDA build, whose operators cannot be loaded with a CPU torch.
torchvision tolerates that, and its Python code works, with one exception: it registers fake kernels
of two operators (`register_fake`) without checking that they exist, and the import fails with
'operator torchvision::nms does not exist'. MMPreTrain needs its transforms and no operator,
and MMDetection and MMSegmentation import MMPreTrain if it is installed, so all three fail, and
MMEngine's environment report too.

This module declares the schemas of the two operators, without kernels, just before torchvision
registers the fake kernels. By then torchvision has tried to load its operators; if they exist,
nothing is declared. Calling a declared operator raises torchvision's own error, "Couldn't load
custom C++ ops".

It must run before the first `import torchvision` of every process, also without mmela. So the
set-up copies this file to site-packages with a .pth file that runs it when Python starts, and only
if the import fails without it. To install it into another environment that has no matching
torchvision:

    PYTHON_OF_THE_ENVIRONMENT tools/setup_env/torchvision_schemas.py
"""

import sys
from pathlib import Path

# Imported whenever Python starts, so no heavy imports at module level.

NAME = 'torchvision_schemas'
OPERATORS = ('nms', 'qnms')
SIGNATURE = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
DESCRIBES = 'torchvision._meta_registrations'  # imported by torchvision after its operators

_libraries = []  # a declaration lasts as long as its Library object


class BeforeDescription:
    """An import finder that finds nothing, but declares the schemas before `DESCRIBES`."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == DESCRIBES:
            declare_missing()
        return None


def declare_missing():
    """Declares the schemas of `OPERATORS` unless torchvision loaded its operators."""
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
    """Installs this file and the .pth file that runs it into an environment."""
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
