"""Runs the checks on the data sets of a config, on a sample of their files or on all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from mmengine.config import Config

from mmela.engine.checks.dataset.class_names import check_metainfo, check_same_classes
from mmela.engine.checks.dataset.coco_annotations import check_coco, check_evaluator_files
from mmela.engine.checks.dataset.coco_json import summary_of
from mmela.engine.checks.dataset.data_sets import DataSet, Sample, data_sets, samples
from mmela.engine.checks.dataset.encodings import check_list_file
from mmela.engine.checks.dataset.findings import Finding, report
from mmela.engine.checks.dataset.head_classes import check_head_classes
from mmela.engine.checks.dataset.image_files import ImageRecord, check_images, look_at_image
from mmela.engine.checks.dataset.masks import MaskRecord, check_masks, look_at_mask, mask_backend
from mmela.engine.checks.dataset.voc_xml import XmlRecord, check_xml, look_at_xml, xml_path
from mmela.engine.log import log_once
from mmela.errors import local_rank

#: Samples of each data set that are looked at before a run.
_SAMPLE = 48


class Task(NamedTuple):
    """One sample to look at; goes to another process."""

    sample: Sample
    decoded: bool
    mask_backend: str
    xml: str | None


class Record(NamedTuple):
    """What was seen of one sample."""

    image: ImageRecord
    mask: MaskRecord | None
    xml: XmlRecord | None


Look = Callable[[Sequence[Task], str], Iterable[Record]]


def check_dataset_content(cfg: Config, splits: Sequence[str]) -> None:
    """Checks annotations, and a sample of the images and masks, before a run.

    One process a machine does it.

    Args:
        cfg: The config; its toolbox has to be importable and its data there.
        splits: What will be used: ``('train', 'val')`` or ``('test',)``.

    Raises:
        UserError: If the data contradicts the config, or some of it cannot be read. What may be
            meant is warned of.
    """
    if local_rank(cfg.get('launcher', 'none')) != 0:
        return
    seen: list[str] = []
    report(findings_of(cfg, splits, lambda tasks, _: map(look_at, tasks), seen=seen))
    if seen:
        log_once(
            f'data: looked at {"; ".join(seen)}. All of them: python tools/misc/verify_dataset.py '
            f'{cfg.filename or "CONFIG"}'
        )


def findings_of(
    cfg: Config,
    splits: Sequence[str],
    look: Look,
    *,
    every: bool = False,
    seen: list[str] | None = None,
) -> Iterator[Finding]:
    """Runs every check.

    Args:
        cfg: The config.
        splits: Any of ``'train'``, ``'val'``, ``'test'``.
        look: Maps :func:`look_at` over tasks; it also gets the key of the data set.
        every: Whether to look at all samples and to decode the images.
        seen: Takes a line for each data set on what was looked at.

    Yields:
        Faults and warnings.
    """
    datasets = data_sets(cfg, splits)
    yield from check_same_classes(datasets)
    yield from check_head_classes(cfg, datasets)
    yield from check_evaluator_files(cfg, datasets)
    done: set[str] = set()
    for dataset in datasets:
        yield from check_metainfo(dataset)
        if dataset.reader and dataset.subset not in done:
            done.add(dataset.subset)
            yield from _findings_of_files(dataset, look, every, [] if seen is None else seen)


def look_at(task: Task) -> Record:
    """Looks at the files of one sample.

    Args:
        task: The sample and how to look at it.

    Returns:
        What was seen.
    """
    sample, decoded, backend, xml = task
    of_xml = look_at_xml(xml) if xml else None
    if of_xml is not None:
        sample = sample._replace(size=of_xml.size)
    image = look_at_image(sample, decoded=decoded)
    mask = look_at_mask(image, backend) if sample.mask else None
    if mask is not None and len(mask.shape) >= 2:
        image = image._replace(sample=sample._replace(size=(mask.shape[1], mask.shape[0])))
    return Record(image, mask, of_xml)


def _findings_of_files(
    dataset: DataSet, look: Look, every: bool, seen: list[str]
) -> Iterator[Finding]:
    images: Sequence[Sequence] = ()
    if dataset.reader == 'CocoDataset':
        if dataset.ann_file is None or not os.path.isfile(dataset.ann_file):
            return
        summary = summary_of(dataset.ann_file, every_image=every)
        yield from check_coco(dataset, summary)
        images = summary['images']
        if summary['fault'] or not summary['is_coco']:
            return
    else:
        faults = list(check_list_file(dataset))
        yield from faults
        if any(finding.is_fault for finding in faults):
            return
    found = list(samples(dataset, images, at_start=not every))
    total = summary['count'].get('images', 0) if dataset.reader == 'CocoDataset' else len(found)
    if not every:
        found = found[:: max(1, len(found) // _SAMPLE)][:_SAMPLE]
    if not found:
        if dataset.reader == 'BaseSegDataset':
            folder, suffix = dataset.folder('img_path'), dataset.value('img_suffix')
            text = f'no image below {folder} ends in {suffix!r}: set img_suffix.'
            yield Finding(f'{dataset.key}.img_suffix', text, path=folder)
        return
    backend, is_xml = mask_backend(dataset), dataset.reader == 'XMLDataset'
    tasks = [Task(s, every, backend, xml_path(dataset, s) if is_xml else None) for s in found]
    records = list(look(tasks, dataset.key))
    masks = [r.mask for r in records if r.mask]
    xml = [r.xml for r in records if r.xml]
    kinds = 'the headers of' if not every else ''
    seen.append(
        f'{kinds} {len(records)} of {total} images'.strip()
        + f' and {len(masks)} masks' * bool(masks)
        + f' and {len(xml)} XML files' * bool(xml)
        + f' ({dataset.key})'
    )
    yield from check_images(dataset, [r.image for r in records])
    if masks:
        yield from check_masks(dataset, masks, every=every)
    if xml:
        yield from check_xml(dataset, xml, every=every)
