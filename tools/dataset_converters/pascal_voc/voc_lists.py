"""The image lists of folders in VOC detection layout."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mmela.errors import UserError
from pascal_voc.checks import read_names

#: Where the lists lie in a VOC folder.
LISTS = Path('ImageSets', 'Main')
_SPLITS = ('train', 'val', 'trainval', 'test')
#: VOC's own, and what people have besides.
_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif')
_YEARS = {'VOC2007': 'voc07', 'VOC2012': 'voc12'}


class ImageSet(NamedTuple):
    """A list of ``ImageSets/Main`` and its folder."""

    folder: Path
    path: Path
    names: list[str]

    @property
    def xml_files(self) -> list[Path]:
        """The annotations of the list."""
        return [self.folder / 'Annotations' / f'{name}.xml' for name in self.names]

    @property
    def images(self) -> list[Path]:
        """The photographs of the list, each with the suffix that it has; .jpg where none is."""
        stems = [self.folder / 'JPEGImages' / name for name in self.names]
        return [next(filter(Path.is_file, _with_suffixes(s)), Path(f'{s}.jpg')) for s in stems]


def _with_suffixes(stem: Path) -> list[Path]:
    return [Path(stem.parent, stem.name + s) for t in _SUFFIXES for s in (t, t.upper())]


def find_folders(source: Path) -> dict[str, Path]:
    """Finds the VOC folders of a download.

    Args:
        source: A ``VOCdevkit``, or one folder of one's own in VOC layout.

    Returns:
        The folders by the prefix of the files that are made of them: ``'voc07'``, ``'voc12'``, or
        ``''`` for one's own.

    Raises:
        UserError: If ``source`` is neither.
    """
    if not source.is_dir():
        raise UserError(f'there is no folder {source}.')
    if (source / LISTS).is_dir():
        return {'': source}
    folders = {p: source / year for year, p in _YEARS.items() if (source / year / LISTS).is_dir()}
    if folders:
        return folders
    hint = ''
    if (source / 'VOCdevkit').is_dir():
        hint = f'; there is a folder {source / "VOCdevkit"}: name that one'
    raise UserError(
        f'{source} holds neither VOC2007/{LISTS} nor VOC2012/{LISTS}, as a VOCdevkit does, nor '
        f'{LISTS} itself, as a folder of your own data does{hint}.'
    )


def plan_files(folders: dict[str, Path]) -> dict[str, list[ImageSet]]:
    """Says which files are made of which lists, named as MMDetection's converter names them.

    Args:
        folders: As :func:`find_folders` gives them.

    Returns:
        File names, and the lists that each is made of.

    Raises:
        UserError: If there is no list at all, or one cannot be used.
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
        raise UserError(f'none of {lists} is in {places}.')
    return files
