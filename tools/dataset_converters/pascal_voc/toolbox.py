"""The toolboxes' own dataset converters: scripts that lie beside the installed packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from mmela.engine.checks.environment import check_environment
from mmela.errors import UserError

_FOLDER = Path('tools', 'dataset_converters')


def load_converter(package: str, name: str) -> ModuleType:
    """Loads one of a toolbox's dataset converters, to call its functions.

    Args:
        package: The toolbox: ``'mmdet'`` or ``'mmseg'``.
        name: File name of the converter, such as ``'pascal_voc.py'``.

    Returns:
        The script as a module of its own; its command line is not run.

    Raises:
        UserError: If the toolbox or the script is not installed, or one of them cannot be
            imported.
    """
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"the conversion is done by {package}'s own converter {name}, and {package} is not "
            'installed (`make setup` installs it).'
        )
    check_environment(package)
    path = _find(package, name)
    spec = importlib.util.spec_from_file_location(f'{package}_{path.stem}_converter', path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise UserError(
            f"the converter {path} needs the package '{error.name}', which cannot be imported "
            f'({error}).'
        ) from error
    return module


def _find(package: str, name: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None  # check_environment has imported it
    home = Path(spec.origin).parent
    # A wheel ships the scripts in .mim; a checkout installed with `pip install -e` has them above.
    places = [home / '.mim' / _FOLDER / name, home.parent / _FOLDER / name]
    for place in places:
        if place.is_file():
            return place
    raise UserError(
        f"{package}'s own converter {name} is not where its distributions put it: neither "
        f'{" nor ".join(map(str, places))} exists. Install {package} anew.'
    )
