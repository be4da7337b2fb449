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
    """The files that were written."""

    folder: Path  #: the masks, ``SegmentationClassAug``
    converted: int  #: masks of SBD
    copied: int  #: masks of VOC, for training images that SBD lacks
    aug: int  #: images in ``aug.txt``: those that SBD adds
    trainaug: int  #: images in ``trainaug.txt``: VOC's training images and those that SBD adds
    notes: tuple[str, ...]  #: warnings


def voc_aug(devkit: str | os.PathLike[str], sbd: str | os.PathLike[str]) -> Augmented:
    """Creates ``SegmentationClassAug`` and ``aug.txt`` for the ``voc12aug`` configs.

    MMSegmentation's ``voc_aug.py`` converts each mask and finds the new images. Its command line is
    not used: it writes the lists in the order of a set, which differs between processes, so that
    two machines would shuffle the data differently with the same seed, and it ends in an
    ``AssertionError`` for an incomplete download. Here the lists are sorted, and the masks of
    training images that SBD lacks are copied from VOC, so that one folder has all of
    ``trainaug.txt``.

    Args:
        devkit: ``VOCdevkit`` with ``VOC2012``.
        sbd: ``benchmark_RELEASE`` of SBD, with ``dataset/cls``.

    Returns:
        The files that were written.

    Raises:
        UserError: If a folder, list, mask or image is missing or cannot be read.
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
    require_files(images + val_images, 'images', 'unpack VOCtrainval_11-May-2012.tar again')
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
            f'NOTE: expected the {converter.AUG_LEN} training images of the literature, got '
            f'{len(trainaug)}; results are not comparable with published ones.'
        )
    broken = broken_images(images + val_images)
    if broken:
        notes.append(
            f'NOTE: {len(broken)} images are truncated and would stop training and tests: '
            f'{", ".join(map(str, broken[:5]))}; unpack them again or remove them from the lists.'
        )
    return Augmented(target, len(mat_files), len(own_masks), len(aug), len(trainaug), tuple(notes))


def _voc_folder(devkit: Path) -> Path:
    voc = devkit / 'VOC2012'
    if not (voc / _LISTS).is_dir():
        hint = '.'
        if (devkit / _LISTS).is_dir():
            hint = f'; did you mean {devkit.parent}?'
        elif (devkit / 'VOCdevkit' / 'VOC2012').is_dir():
            hint = f'; did you mean {devkit / "VOCdevkit"}?'
        raise UserError(f'the folder {voc / _LISTS} does not exist{hint}')
    for name in ('JPEGImages', 'SegmentationClass'):
        if not (voc / name).is_dir():
            raise UserError(f'the folder {voc / name} does not exist; unpack VOC 2012 again.')
    return voc


def _sbd_folder(sbd: Path) -> Path:
    if (sbd / 'dataset' / 'cls').is_dir():
        return sbd / 'dataset'
    hint = '.'
    if (sbd / 'cls').is_dir():
        hint = f'; did you mean {sbd.parent}?'
    elif (sbd / 'benchmark_RELEASE').is_dir():
        hint = f'; did you mean {sbd / "benchmark_RELEASE"}?'
    raise UserError(f'the folder {sbd / "dataset" / "cls"} of SBD does not exist{hint}')


def _convert(converter: Any, mat_files: Iterable[Path], target: Path) -> None:
    from mmengine.utils import track_iter_progress

    for path in track_iter_progress(list(mat_files)):
        try:
            converter.convert_mat(path.name, in_dir=str(path.parent), out_dir=str(target))
        # SciPy raises many types for a broken file: zlib's, its own, TypeError, KeyError.
        except Exception as error:
            raise UserError(
                f'{path} is not a mask of SBD or is truncated ({type(error).__name__}: {error}); '
                'unpack benchmark.tgz again.'
            ) from error


def _check_sizes(images: Iterable[Path], masks: Path) -> None:
    from PIL import Image, UnidentifiedImageError

    for path in images:
        try:
            with Image.open(path) as image, Image.open(masks / f'{path.stem}.png') as mask:
                sizes = image.size, mask.size
        except UnidentifiedImageError as error:
            raise UserError(f'{error}; unpack VOCtrainval_11-May-2012.tar again.') from error
        if sizes[0] != sizes[1]:
            raise UserError(
                f'{path}: expected the size of its mask, {sizes[1]}, got {sizes[0]}; they are from '
                'different data sets.'
            )
