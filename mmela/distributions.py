"""Which distributions of OpenMMLab's packages are installed, and how pip installs them.

Each package comes in a maintained distribution and in the original one. They exclude each other, so
advice names the one that is there.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

#: The maintained distribution and the original, by the name of the module.
DISTRIBUTIONS = {
    'mmengine': ('onedl-mmengine', 'mmengine'),
    'mmcv': ('onedl-mmcv', 'mmcv'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
}
_OPENCV = ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python')


def distribution_of(module: str) -> tuple[str, str]:
    """The distribution that provides a module.

    Args:
        module: A key of :data:`DISTRIBUTIONS`; another module stands for its own distribution.

    Returns:
        Its name and version. Where none is installed, the one that goes with the MMEngine that is
        installed, and an empty version.
    """
    if module not in DISTRIBUTIONS:
        return module, installed_version(module)
    for name in DISTRIBUTIONS[module]:
        if found := installed_version(name):
            return name, found
    maintained, original = DISTRIBUTIONS[module]
    has_original = installed_version('mmengine') and not installed_version('onedl-mmengine')
    return original if has_original else maintained, ''


def installed_version(distribution: str) -> str:
    """The version of a distribution; an empty string where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ''


def install_command(module: str) -> str:
    """What installs a module beside the packages that are there.

    Args:
        module: A key of :data:`DISTRIBUTIONS`.

    Returns:
        One or two commands in backquotes.
    """
    name = distribution_of(module)[0]
    if module != 'mmcv':
        return f'`pip install -U {name}`'
    if name == 'mmcv':
        return "`pip install -U openmim`, then `mim install 'mmcv>=2.1,<2.2'`"
    return (
        "`pip install 'setuptools>=77,<82' wheel ninja packaging psutil`, then "
        f'`pip install --no-build-isolation {name}`'
    )


def older_numpy_command() -> str:
    """What installs a NumPy for a torch that was built for version 1, in backquotes."""
    opencv = next((name for name in _OPENCV if installed_version(name)), _OPENCV[0])
    return f"`pip install 'numpy<2' '{opencv}<4.12'`"
