"""PASCAL VOC 2012 segmentation, augmented by the masks of SBD (Hariharan et al., ICCV 2011)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mmela.errors import UserError
from pascal_voc.checks import (
    broken_images,
    make_folder,
    read_names,
    require_files,
)
from pascal_voc.toolbox import load_converter

_LISTS = Path('ImageSets', 'Segmentation')


class Augmented(NamedTuple):
    """What was written."""

    folder: Path  #: the masks, ``SegmentationClassAug``
    converted: int  #: masks of SBD
    copied: int  #: masks of VOC for training images that SBD lacks
    aug: int  #: images of ``aug.txt``: those that SBD adds
    trainaug: int  #: images of ``trainaug.txt``: VOC's training images and those that SBD adds
    notes: tuple[str, ...]  #: what to know


def voc_aug(devkit: str | os.PathLike[str], sbd: str | os.PathLike[str]) -> Augmented:
    """Makes what the ``voc12aug`` configs read: ``SegmentationClassAug`` and ``aug.txt``.

    MMSegmentation's ``voc_aug.py`` converts each mask and says which images are new. Its command
    line is not used: it writes the lists in the order of a set, another one in each process, so
    that two machines would train on differently shuffled data under one seed, and of a download
    that is not whole it says ``AssertionError``. Here the lists are sorted, and masks of VOC stand
    in for the training images that SBD lacks, so that ``trainaug.txt`` goes with one folder too.

    Args:
        devkit: ``VOCdevkit`` with ``VOC2012``.
        sbd: ``benchmark_RELEASE`` of SBD, which holds ``dataset/cls``.

    Returns:
        What was written.

    Raises:
        UserError: If a folder, a list, a mask or a photograph is missing or cannot be read.
    """
    voc = _voc_folder(Path(devkit))
    dataset = _sbd_folder(Path(sbd))
    sbd_names = [n for s in ('train', 'val') for n in read_names(dataset / f'{s}.txt')]
    train, val = (read_names(voc / _LISTS / f'{split}.txt') for split in ('train', 'val'))
    mat_files = [dataset / 'cls' / f'{name}.mat' for name in sbd_names]
    require_files(mat_files, 'masks of SBD', 'unpack benchmark.tgz again')
    converter: Any = load_converter('mmseg', 'voc_aug.py')
    aug = sorted(converter.generate_aug_list(sbd_names, train + val))
    trainaug = sorted(converter.generate_aug_list(train + sbd_names, val))
    images = [voc / 'JPEGImages' / f'{name}.jpg' for name in trainaug]
    val_images = [voc / 'JPEGImages' / f'{name}.jpg' for name in val]
    require_files(images + val_images, 'photographs', 'unpack VOCtrainval_11-May-2012.tar again')
    lacking = sorted(converter.generate_aug_list(train, sbd_names))
    own_masks = [voc / 'SegmentationClass' / f'{name}.png' for name in lacking]
    require_files(own_masks, 'masks of VOC', 'unpack VOCtrainval_11-May-2012.tar again')

    target = voc / 'SegmentationClassAug'
    make_folder(target)
    _convert(converter, mat_files, target)
    for path in own_masks:
        shutil.copyfile(path, target / path.name)
    _check_sizes(images, target)
    for list_name, names in (('aug', aug), ('trainaug', trainaug)):
        (voc / _LISTS / f'{list_name}.txt').write_text(''.join(f'{name}\n' for name in names))

    notes = []
    if len(trainaug) != converter.AUG_LEN:
        notes.append(
            f'NOTE: these are not the {converter.AUG_LEN} training images of the literature; '
            'results on them cannot be compared with published ones.'
        )
    broken = broken_images(images + val_images)
    if broken:
        notes.append(
            f'NOTE: {len(broken)} photographs are cut short, and training and tests will stop at '
            f'them: {", ".join(map(str, broken[:5]))}; unpack them again or take them out of the '
            'lists.'
        )
    return Augmented(target, len(mat_files), len(own_masks), len(aug), len(trainaug), tuple(notes))


def _voc_folder(devkit: Path) -> Path:
    voc = devkit / 'VOC2012'
    if not (voc / _LISTS).is_dir():
        hint = '.'
        if (devkit / _LISTS).is_dir():
            hint = f': the folder to name is the one above, {devkit.parent}.'
        elif (devkit / 'VOCdevkit' / 'VOC2012').is_dir():
            hint = f': the folder to name is {devkit / "VOCdevkit"}.'
        raise UserError(f'there is no folder {voc / _LISTS}{hint}')
    for name in ('JPEGImages', 'SegmentationClass'):
        if not (voc / name).is_dir():
            raise UserError(f'there is no folder {voc / name}: unpack VOC 2012 again.')
    return voc


def _sbd_folder(sbd: Path) -> Path:
    if (sbd / 'dataset' / 'cls').is_dir():
        return sbd / 'dataset'
    hint = '.'
    if (sbd / 'cls').is_dir():
        hint = f': the folder to name is the one above, {sbd.parent}.'
    elif (sbd / 'benchmark_RELEASE').is_dir():
        hint = f': the folder to name is {sbd / "benchmark_RELEASE"}.'
    raise UserError(f'there is no folder {sbd / "dataset" / "cls"} with the masks of SBD{hint}')


def _convert(converter: Any, mat_files: Iterable[Path], target: Path) -> None:
    from mmengine.utils import track_iter_progress

    for path in track_iter_progress(list(mat_files)):
        try:
            converter.convert_mat(path.name, in_dir=str(path.parent), out_dir=str(target))
        # SciPy raises anything on a broken file: of zlib, of its own, a TypeError, a KeyError.
        except Exception as error:
            raise UserError(
                f'{path} is no mask of SBD or is cut short ({type(error).__name__}: {error}): '
                'unpack benchmark.tgz again.'
            ) from error


def _check_sizes(images: Iterable[Path], masks: Path) -> None:
    from PIL import Image, UnidentifiedImageError

    for path in images:
        try:
            with Image.open(path) as image, Image.open(masks / f'{path.stem}.png') as mask:
                sizes = image.size, mask.size
        except UnidentifiedImageError as error:
            raise UserError(f'{error}: unpack VOCtrainval_11-May-2012.tar again.') from error
        if sizes[0] != sizes[1]:
            raise UserError(
                f'{path} is {sizes[0]} pixels and its mask {sizes[1]}: they are not of the same '
                'data set.'
            )
