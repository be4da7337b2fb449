"""Checks image files by their headers or, on request, by decoding them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mmela.engine.checks.dataset.data_sets import DataSet, Sample
from mmela.engine.checks.dataset.findings import Finding, listed_with_count
from mmela.engine.data.file_faults import Header, decode, file_fault, read_header

#: 16 bits become 8 by leaving out the lower ones: a value below is black.
_FIRST_VISIBLE = 256


class ImageRecord(NamedTuple):
    """What was seen of an image."""

    sample: Sample
    fault: str = ''
    header: Header | None = None
    is_black: bool = False  #: 16 bits a channel, of which none are left as 8 bits


def look_at_image(sample: Sample, *, decoded: bool) -> ImageRecord:
    """Looks at the image of a sample.

    Args:
        sample: The sample.
        decoded: Whether to decode the image, which finds damage behind the header.

    Returns:
        What was seen.
    """
    fault = file_fault(sample.image)
    if fault:
        return ImageRecord(sample, fault)
    header = read_header(sample.image)
    if decoded or header is None:
        image, fault = decode(sample.image)
        if fault or image is None:
            return ImageRecord(sample, fault, header)
        header = header or Header(image.shape[1], image.shape[0])
    is_black = False
    if header.is_deep:
        image, _ = decode(sample.image, flag='unchanged')
        is_black = image is not None and image.dtype != 'uint8' and image.max() < _FIRST_VISIBLE
    return ImageRecord(sample, fault, header, is_black)


def check_images(dataset: DataSet, records: Sequence[ImageRecord]) -> Iterator[Finding]:
    """Checks what was seen of the images of a data set.

    Args:
        dataset: The data set.
        records: Of all or some of its images.

    Yields:
        Faults: missing and unreadable files, width and height exchanged. Warnings: other sizes
        than the annotations say, EXIF orientation, images of one pixel, black ones.
    """
    key = dataset.key
    missing = [r for r in records if r.fault.startswith('does not exist')]
    if missing:
        yield _missing_files(dataset, missing, len(records))
    broken = [r for r in records if r.fault and r not in missing]
    if broken:
        shown = listed_with_count(
            [f'{r.sample.image} (sample {r.sample.number}) {r.fault}' for r in broken]
        )
        text = f'{len(broken)} of {len(records)} images cannot be read: {shown}.'
        yield Finding(key, text, path=broken[0].sample.image)
    yield from _sizes(dataset, records)
    points = [r for r in records if r.header and (r.header.width, r.header.height) == (1, 1)]
    black = [r for r in records if r.is_black]
    for odd, text in (
        (points, 'images are of 1x1 pixels'),
        (
            black,
            'images have 16 bits a channel and become black as 8 bits, because no value reaches '
            f'{_FIRST_VISIBLE}; stretch their values, such as by cv2.normalize(image, None, 0, '
            '65535, cv2.NORM_MINMAX)',
        ),
    ):
        if odd:
            paths = listed_with_count([r.sample.image for r in odd])
            text = f'{len(odd)} of {len(records)} {text}: {paths}.'
            yield Finding(key, text, is_fault=False, path=odd[0].sample.image)
    yield from _turned(dataset, records)


def _missing_files(dataset: DataSet, missing: Sequence[ImageRecord], total: int) -> Finding:
    """Names what is missing, and the key to set where the files have another suffix."""
    first = missing[0].sample.image
    found = Counter(
        os.path.splitext(r.fault.rpartition('; ')[2].removesuffix(' is there'))[1]
        for r in missing
        if r.fault.endswith(' is there')
    )
    suffix = found.most_common(1)[0][0] if found else ''
    listed_suffix = os.path.splitext(first)[1]
    advice = 'put them there, or take them out of the annotations'
    if suffix and dataset.reader == 'BaseSegDataset':
        advice = f'--cfg-options {dataset.key}.img_suffix={suffix}'
        if os.path.splitext(os.path.splitext(first)[0])[1]:
            advice = 'the list names files without suffix: take it out there'
    elif suffix and dataset.reader == 'XMLDataset':
        advice = (
            f'MMDetection reads {listed_suffix} alone with XML annotations: convert these by '
            'tools/dataset_converters/voc_to_coco.py, which takes the images that are there, and '
            "use type='CocoDataset'"
        )
    elif suffix:
        advice = f'correct each file_name in {dataset.ann_file}'
    there = f' ({found[suffix]} are there with the suffix {suffix})' if suffix else ''
    shown = listed_with_count([f'{r.sample.image} (sample {r.sample.number})' for r in missing])
    text = f'{len(missing)} of {total} images do not exist{there}: {shown}; {advice}.'
    return Finding(dataset.key, text, path=first)


def loaded_size(header: Header) -> tuple[int, int]:
    """Width and height of an image as OpenCV loads it, with its EXIF orientation applied.

    Args:
        header: Of its file.

    Returns:
        Width and height.
    """
    size = (header.width, header.height)
    return size[::-1] if header.orientation >= 5 else size


def _sizes(dataset: DataSet, records: Sequence[ImageRecord]) -> Iterator[Finding]:
    """Compares the sizes of images with those of the annotations."""
    pairs = [(r, r.header, r.sample.size) for r in records if r.header and r.sample.size]
    other = [
        (r, header, size)
        for r, header, size in pairs
        if size not in (loaded_size(header), (header.width, header.height))
    ]
    if not other:
        return
    swapped = [r for r, header, size in other if size[::-1] == loaded_size(header)]
    all_swapped = len(swapped) == len(other) and 2 * len(swapped) > len(pairs)
    shown = listed_with_count(
        [f'{r.sample.image} is {h.width}x{h.height}, not {s[0]}x{s[1]}' for r, h, s in other]
    )
    what = 'width and height exchanged in' if all_swapped else 'another size in'
    yield Finding(
        f'{dataset.key}.ann_file',
        f'{len(other)} of {len(pairs)} images have {what} the annotations, from which boxes are '
        f'clipped and left out: {shown}; correct the annotations.',
        is_fault=all_swapped,
        path=other[0][0].sample.image,
    )


def _turned(dataset: DataSet, records: Sequence[ImageRecord]) -> Iterator[Finding]:
    """Warns of images that are rotated on loading where their annotations are not."""
    if dataset.scope == 'mmpretrain' or _ignores_orientation(dataset):
        return
    turned = [
        r
        for r in records
        if r.header
        and r.header.orientation > 1
        # Annotations of the turned image have its width and height.
        and not (r.header.orientation >= 5 and r.sample.size == loaded_size(r.header))
    ]
    if turned:
        of = 'masks' if dataset.scope == 'mmseg' else 'boxes'
        shown = listed_with_count([r.sample.image for r in turned])
        yield Finding(
            dataset.key,
            f'{len(turned)} of {len(records)} images are rotated on loading by their EXIF '
            f'orientation, their {of} are not: {shown}; save '
            'the images upright (`exiftran -ai FILE`, or PIL.ImageOps.exif_transpose), or load '
            "them as they are stored: dict(type='LoadImageFromFile', "
            "color_type='color_ignore_orientation'). If the annotations are of the upright "
            'images, ignore this warning.',
            is_fault=False,
            path=turned[0].sample.image,
        )


def _ignores_orientation(dataset: DataSet) -> bool:
    steps = dataset.cfg.get('pipeline') or []
    return any('ignore_orientation' in str(step.get('color_type', '')) for step in steps)
