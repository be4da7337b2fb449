"""Loads the toolboxes' own dataset converters, which are scripts and not part of a package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from mmela.engine.checks.environment import check_environment
from mmela.errors import UserError

_FOLDER = Path('tools', 'dataset_converters')


def load_converter(package: str, name: str) -> ModuleType:
    """Loads a dataset converter of a toolbox, to call its functions.

    Args:
        package: The toolbox: ``'mmdet'`` or ``'mmseg'``.
        name: File name of the converter, such as ``'pascal_voc.py'``.

    Returns:
        The script as a module; its command line is not run.

    Raises:
        UserError: If the toolbox or the script is missing or cannot be imported.
    """
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"the conversion needs {package}'s converter {name}, and {package} is not installed; "
            '`make setup` installs it.'
        )
    check_environment(package)
    path = _find(package, name)
    spec = importlib.util.spec_from_file_location(f'{package}_{path.stem}_converter', path)
    assert spec is not None and spec.loader is not None  # its name ends in .py
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
    # Wheels have the scripts in .mim, editable installations next to the package.
    places = [home / '.mim' / _FOLDER / name, home.parent / _FOLDER / name]
    for place in places:
        if place.is_file():
            return place
    raise UserError(
        f"{package}'s converter {name} does not exist in {' or '.join(map(str, places))}; "
        f'reinstall {package}.'
    )
