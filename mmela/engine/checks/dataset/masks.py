"""Checks segmentation masks: their values against the classes, their size against the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mmela.engine.checks.dataset.data_sets import DataSet
from mmela.engine.checks.dataset.findings import Finding, listed_with_count
from mmela.engine.checks.dataset.image_files import ImageRecord, loaded_size
from mmela.engine.data.file_faults import decode, file_fault, read_header

#: Makes a finding of masks, a text on them, and whether it is a fault.
_Report = Callable[..., Finding]
_IGNORED = 255
_BACKGROUND = ('background', 'bg', '_background_', 'back ground')


class MaskRecord(NamedTuple):
    """What was seen of a mask."""

    image: ImageRecord
    path: str
    fault: str = ''
    shape: tuple[int, ...] = ()  #: (height, width) or with channels
    format: str = ''
    values: tuple[int, ...] = ()  #: each value once


def look_at_mask(image: ImageRecord, backend: str) -> MaskRecord:
    """Looks at the mask of a sample.

    Args:
        image: What was seen of its image; the sample has a mask.
        backend: ``imdecode_backend`` of LoadAnnotations.

    Returns:
        What was seen.
    """
    path = str(image.sample.mask)
    fault = file_fault(path)
    if fault:
        return MaskRecord(image, path, fault)
    mask, fault = decode(path, backend, 'unchanged')
    if mask is None:
        return MaskRecord(image, path, fault)
    mask = mask[..., 0] if mask.shape[2:] == (1,) else mask
    header = read_header(path)
    values = tuple(np.unique(mask).tolist()) if mask.ndim == 2 else ()
    return MaskRecord(image, path, '', mask.shape, header.format if header else '', values)


def mask_backend(dataset: DataSet) -> str:
    """The decoder that the pipeline of a data set takes for masks."""
    for step in dataset.cfg.get('pipeline') or []:
        if str(step.get('type', '')).endswith('LoadAnnotations'):
            return str(step.get('imdecode_backend', 'pillow'))
    return 'pillow'


def check_masks(
    dataset: DataSet, records: Sequence[MaskRecord], *, every: bool
) -> Iterator[Finding]:
    """Checks what was seen of the masks of a data set.

    Args:
        dataset: The data set.
        records: Of all or some of its masks.
        every: Whether these are all, so that a class without a pixel is missing.

    Yields:
        Faults and warnings that name files and values.
    """
    key = f'{dataset.key}.data_prefix.seg_map_path'

    def found(odd: Sequence[MaskRecord], text: str, is_fault: bool = True) -> Finding:
        paths = listed_with_count([r.path for r in odd])
        text = f'{len(odd)} of {len(records)} masks {text}: {paths}.'
        return Finding(key, text, is_fault, odd[0].path)

    unreadable = [r for r in records if r.fault]
    if unreadable:
        yield _unreadable(dataset, unreadable, len(records))
    whole = [r for r in records if not r.fault]
    channels = [r for r in whole if len(r.shape) != 2]
    if channels:
        yield found(
            channels,
            f'have {channels[0].shape[-1]} channels, and one is expected, which holds the number '
            'of the class of each pixel; look each colour up in your palette and save the numbers '
            'as PNG: cv2.imwrite(FILE, numbers.astype("uint8"))',
        )
    jpeg = [r for r in whole if r.format == 'JPEG']
    if jpeg:
        text = 'are JPEG files, which change the values at borders; save the masks as PNG'
        yield found(jpeg, text)
    sizes = [r for r in whole if r.image.header and r.shape[1::-1] != loaded_size(r.image.header)]
    if sizes:
        header, mask = sizes[0].image.header, sizes[0]
        assert header is not None
        size = 'x'.join(map(str, loaded_size(header)))
        turned = ' (its EXIF orientation turns it on loading)' if header.orientation >= 5 else ''
        text = (
            f'have another size than their image, such as {mask.shape[1]}x{mask.shape[0]} '
            f'where {mask.image.sample.image} has {size}{turned}; save them in the size of the '
            'image, resized with cv2.INTER_NEAREST'
        )
        yield found(sizes, text)
    yield from _values(
        dataset, [r for r in whole if r not in channels and r not in jpeg], found, every
    )


def _unreadable(dataset: DataSet, odd: Sequence[MaskRecord], total: int) -> Finding:
    shown = listed_with_count([f'{r.path} (sample {r.image.sample.number}) {r.fault}' for r in odd])
    there = odd[0].fault.rpartition('; ')[2] if odd[0].fault.endswith(' is there') else ''
    suffix = there.removesuffix(' is there').rpartition('.')[2]
    advice = f'; --cfg-options {dataset.key}.seg_map_suffix=.{suffix}' if there else ''
    text = f'{len(odd)} of {total} masks cannot be read: {shown}{advice}.'
    return Finding(f'{dataset.key}.data_prefix.seg_map_path', text, path=odd[0].path)


def _values(
    dataset: DataSet, records: Sequence[MaskRecord], found: _Report, every: bool
) -> Iterator[Finding]:
    """Compares the values of masks with the number of classes."""
    if not dataset.classes or not records:
        return
    label_map = _label_map(dataset)
    number = len(label_map or dataset.classes)
    reduced = bool(dataset.value('reduce_zero_label'))
    largest = number if reduced else number - 1
    seen = sorted({value for r in records for value in r.values})
    classes = f'{len(dataset.classes)} classes'
    beyond = [v for v in seen if v > largest and v != _IGNORED]
    if number <= 2 and seen and {*seen} <= {0, _IGNORED} and _IGNORED in seen:
        yield found(
            [r for r in records if _IGNORED in r.values],
            f'hold the values 0 and 255, and 255 is ignored, so that {dataset.classes[-1]!r} would '
            'never be trained; save 1 in place of 255: cv2.imwrite(FILE, (mask > 127).astype('
            '"uint8"))',
        )
        return
    if beyond:
        odd = [r for r in records if {*r.values} & {*beyond}]
        hint = 'convert the masks so that the classes are numbered from 0, or name all classes'
        if not reduced and 0 not in seen and max(beyond) == number:
            hint = f'classes numbered from 1: --cfg-options {dataset.key}.reduce_zero_label=True'
        yield found(
            odd,
            f'hold values outside the {classes} (0 to {largest} and {_IGNORED}, which is '
            f'ignored): {listed_with_count(beyond, shown=10)}; {hint}',
        )
        return
    blank = [r for r in records if {*r.values} <= ({_IGNORED, 0} if reduced else {_IGNORED})]
    if blank:
        text = 'hold ignored pixels alone, from which nothing is learned'
        yield found(blank, text, len(blank) == len(records))
    if reduced and 0 in seen and largest not in seen and not label_map:
        yield from _reduced_background(dataset, records, seen, found)
    if every and not label_map:
        shift = int(reduced)
        without = [n for i, n in enumerate(dataset.classes) if i + shift not in seen]
        if without:
            yield Finding(
                f'{dataset.key}.metainfo.classes',
                f'no mask of {len(records)} has a pixel of {listed_with_count(without)}.',
                is_fault=False,
            )


def _reduced_background(
    dataset: DataSet, records: Sequence[MaskRecord], seen: list[int], found: _Report
) -> Iterator[Finding]:
    """Finds classes numbered from 0 where ``reduce_zero_label`` numbers them from 1."""
    assert dataset.classes is not None
    numbered_from_0 = {*seen} - {_IGNORED} == {*range(len(dataset.classes))}
    if numbered_from_0 or dataset.classes[0].lower() in _BACKGROUND:
        yield found(
            [r for r in records if 0 in r.values],
            f'hold 0, which reduce_zero_label=True ignores, and no {len(dataset.classes)}: every '
            f'other class would be taken for the one before it and {dataset.classes[0]!r} be '
            f'ignored; --cfg-options {dataset.key}.reduce_zero_label=False',
        )


def _label_map(dataset: DataSet) -> Sequence[str] | None:
    """The names that masks are numbered by where the config picks some of the toolbox's classes."""
    own = getattr(dataset.cls, 'METAINFO', {}).get('classes')
    return own if own and list(own) != list(dataset.classes or ()) else None
