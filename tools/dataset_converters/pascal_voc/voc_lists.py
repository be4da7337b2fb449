"""Image lists of folders in the layout of VOC detection."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mmela.errors import UserError
from pascal_voc.checks import read_names

#: Location of the lists in a VOC folder.
LISTS = Path('ImageSets', 'Main')
_SPLITS = ('train', 'val', 'trainval', 'test')
#: VOC's own, and what people have besides.
_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif')
_YEARS = {'VOC2007': 'voc07', 'VOC2012': 'voc12'}


class ImageSet(NamedTuple):
    """A list in ``ImageSets/Main`` and its VOC folder."""

    folder: Path
    path: Path
    names: list[str]

    @property
    def xml_files(self) -> list[Path]:
        """Annotation files of the list."""
        return [self.folder / 'Annotations' / f'{name}.xml' for name in self.names]

    @property
    def images(self) -> list[Path]:
        """Images of the list, each with the suffix that it has; .jpg if there is none."""
        stems = [self.folder / 'JPEGImages' / name for name in self.names]
        return [next(filter(Path.is_file, _with_suffixes(s)), Path(f'{s}.jpg')) for s in stems]


def _with_suffixes(stem: Path) -> list[Path]:
    return [Path(stem.parent, stem.name + s) for t in _SUFFIXES for s in (t, t.upper())]


def find_folders(source: Path) -> dict[str, Path]:
    """Finds the VOC folders of a download.

    Args:
        source: A ``VOCdevkit``, or a folder of custom data in VOC layout.

    Returns:
        The folders by the prefix of their output files: ``'voc07'``, ``'voc12'``, or ``''`` for
        custom data.

    Raises:
        UserError: If ``source`` is neither.
    """
    if not source.is_dir():
        raise UserError(f'the folder {source} does not exist.')
    if (source / LISTS).is_dir():
        return {'': source}
    folders = {p: source / year for year, p in _YEARS.items() if (source / year / LISTS).is_dir()}
    if folders:
        return folders
    hint = ''
    if (source / 'VOCdevkit').is_dir():
        hint = f'; did you mean {source / "VOCdevkit"}?'
    raise UserError(
        f'{source}: expected VOC2007/{LISTS} or VOC2012/{LISTS} (a VOCdevkit) or {LISTS} (custom '
        f'data), got none of them{hint}'
    )


def plan_files(folders: dict[str, Path]) -> dict[str, list[ImageSet]]:
    """Assigns the lists to output files, named as by MMDetection's converter.

    Args:
        folders: From :func:`find_folders`.

    Returns:
        The lists of each file, by file name.

    Raises:
        UserError: If there is no list, or one is invalid.
    """
    files: dict[str, list[ImageSet]] = {}
    for prefix, folder in folders.items():
        for split in _SPLITS:
            path = folder / LISTS / f'{split}.txt'
            if path.is_file():
                name = f'{prefix or "instances"}_{split}.json'
                files[name] = [ImageSet(folder, path, read_names(path))]
    for split in _SPLITS[:3]:
        both = [files.get(f'{prefix}_{split}.json') for prefix in _YEARS.values()]
        if both[0] and both[1]:
            files[f'voc0712_{split}.json'] = both[0] + both[1]
    if not files:
        lists = ', '.join(f'{split}.txt' for split in _SPLITS)
        places = ' or '.join(str(folder / LISTS) for folder in folders.values())
        raise UserError(f'expected one of {lists} in {places}, got none.')
    return files
