"""Checks the XML annotations of PASCAL VOC: class names, image sizes and boxes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

from mmela.engine.checks.dataset.class_names import compare_names
from mmela.engine.checks.dataset.coco_json import kinds_of_box
from mmela.engine.checks.dataset.data_sets import DataSet, Sample
from mmela.engine.checks.dataset.findings import Finding, listed_with_count
from mmela.engine.data.file_faults import encoding_fault, file_fault
from mmela.errors import did_you_mean

_TEXTS = {
    'not finite': 'without a whole box: xmin, ymin, xmax and ymax have to be numbers of pixels',
    'zero area': 'with a box of zero or negative size',
    'outside': 'with a box outside of the image',
    'beyond': 'with a box that reaches beyond the image',
    'normalised': 'with a box between 0 and 1; write corners in pixels',
    'no size': 'with a <size> of 0 or no number, from which images are left out',
}


class XmlRecord(NamedTuple):
    """What was seen of an XML file."""

    path: str
    fault: str = ''
    size: tuple[int, int] | None = None  #: width and height
    names: tuple[str, ...] = ()  #: class of each object
    kinds: tuple[str, ...] = ()  #: what is odd about its boxes


def xml_path(dataset: DataSet, sample: Sample) -> str:
    """The XML file of a sample."""
    name = os.path.splitext(os.path.basename(sample.image))[0]
    folder = os.path.join(dataset.folder('sub_data_root'), dataset.value('ann_subdir'))
    return os.path.join(folder, f'{name}.xml')


def look_at_xml(path: str) -> XmlRecord:
    """Reads an XML file.

    Args:
        path: The file.

    Returns:
        What was seen.
    """
    fault = file_fault(path)
    if fault:
        return XmlRecord(path, fault)
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, ValueError) as error:
        return XmlRecord(
            path, encoding_fault(path) or f'is not an XML file or is truncated ({error})'
        )
    width, height = (_number(root.find(f'size/{side}')) for side in ('width', 'height'))
    kinds = set() if width and height or root.find('size') is None else {'no size'}
    names = []
    for item in root.findall('object'):
        names.append(getattr(item.find('name'), 'text', None) or '')
        x, y, right, bottom = (
            _number(item.find(f'bndbox/{side}')) for side in ('xmin', 'ymin', 'xmax', 'ymax')
        )
        if x is None or y is None or right is None or bottom is None:
            kinds.add('not finite')
            continue
        kinds |= kinds_of_box([x - 1, y - 1, right - x, bottom - y], width, height)
    size = (int(width), int(height)) if width and height else None
    return XmlRecord(path, '', size, tuple(names), tuple(kinds))


def check_xml(dataset: DataSet, records: Sequence[XmlRecord], *, every: bool) -> Iterator[Finding]:
    """Checks what was seen of the XML files of a data set.

    Args:
        dataset: The data set.
        records: Of all or some of its files.
        every: Whether these are all, so that a class without a box is missing.

    Yields:
        Faults and warnings.
    """
    key = f'{dataset.key}.ann_subdir'
    broken = [r for r in records if r.fault]
    if broken:
        shown = listed_with_count([f'{r.path} {r.fault}' for r in broken])
        text = f'{len(broken)} of {len(records)} annotation files cannot be read: {shown}.'
        yield Finding(key, text, path=broken[0].path)
    for kind, text in _TEXTS.items():
        odd = [r for r in records if kind in r.kinds]
        if odd:
            is_fault = kind in ('not finite', 'normalised') or len(odd) == len(records) > 1
            paths = listed_with_count([r.path for r in odd])
            text = f'{len(odd)} of {len(records)} annotation files {text}: {paths}.'
            yield Finding(key, text, is_fault and kind != 'beyond', odd[0].path)
    yield from _names(dataset, [r for r in records if not r.fault], every)


def _names(dataset: DataSet, records: Sequence[XmlRecord], every: bool) -> Iterator[Finding]:
    classes = dataset.classes
    count = Counter(name for record in records for name in record.names)
    if not classes or not records:
        return
    folder = os.path.dirname(os.path.abspath(records[0].path))
    key = f'{dataset.key}.metainfo.classes'
    if not count:
        text = f'{len(records)} annotation files in {folder} have no object.'
        yield Finding(key, text, dataset.split == 'train', folder)
        return
    if not {*classes} & {*count}:
        yield from compare_names(dataset, folder, sorted(count), is_ordered=False)
        return
    unknown = {name: number for name, number in count.items() if name not in classes}
    # Another case or a blank: the same name for a reader, and not for the toolbox.
    slips = {n: c for n in unknown for c in classes if n.strip().lower() == c.strip().lower()}
    for name, meant in slips.items():
        yield Finding(
            key,
            f'names {meant!r}, and {unknown[name]} boxes in {folder} are of {name!r}, which is '
            'another name for MMDetection; write the same in both.',
            path=folder,
        )
    others = {n: c for n, c in unknown.items() if n not in slips}
    if others:
        hints = {n: did_you_mean(n, classes).rstrip('.') for n in others}
        shown = listed_with_count([f'{n!r} ({c}){hints[n]}' for n, c in others.items()])
        text = (
            f'{sum(others.values())} boxes in {folder} are of classes that the config does not '
            f'name and are not used: {shown}.'
        )
        yield Finding(key, text, is_fault=False, path=folder)
    without = [name for name in classes if name not in count]
    if every and without:
        text = f'no annotation file in {folder} has a box of {listed_with_count(without)}.'
        yield Finding(key, text, is_fault=False, path=folder)


def _number(element: ET.Element | None) -> float | None:
    try:
        value = float(getattr(element, 'text', None) or 'nan')
    except ValueError:
        return None
    return value if value == value and abs(value) != float('inf') else None
