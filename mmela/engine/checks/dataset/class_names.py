"""Compares the class names of a config with those of its annotation files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from mmela.engine.checks.dataset.data_sets import DataSet
from mmela.engine.checks.dataset.findings import Finding, listed_with_count
from mmela.errors import did_you_mean

_SHOWN = 20


def check_metainfo(dataset: DataSet) -> Iterator[Finding]:
    """Checks how a data set names its classes.

    Args:
        dataset: The data set.

    Yields:
        Faults: a key that nothing reads, a text in place of a list, a name twice.
    """
    key = f'{dataset.key}.metainfo'
    for name in dataset.cfg.get('metainfo') or {}:
        if name != 'classes' and str(name).lower() in ('classes', 'class', 'class_names'):
            yield Finding(
                f'{key}.{name}',
                "nothing reads this key, and the toolbox's own names would be used: write "
                'metainfo=dict(classes=(...)).',
            )
    named = dataset.named_classes
    if isinstance(named, str) and dataset.classes is None:
        yield Finding(
            f'{key}.classes',
            f'expected a list of names, got the text {named!r}, whose letters would each be a '
            f'class; one class is written with a comma: classes=({named!r},).',
        )
    elif dataset.classes is None and dataset.reader in ('XMLDataset', 'BaseSegDataset'):
        is_fault = dataset.reader == 'XMLDataset' or dataset.split != 'train'
        text = 'names no classes, and this type has none itself: metainfo=dict(classes=(...)).'
        yield Finding(key, text, is_fault)
    names = dataset.classes if named is not None else None  # ImageNet has some names twice
    doubled = [name for name, count in Counter(names or ()).items() if count > 1]
    if doubled:
        yield Finding(
            f'{key}.classes', f'{listed_with_count(doubled)} is named twice; name each class once.'
        )


def check_same_classes(datasets: Sequence[DataSet]) -> Iterator[Finding]:
    """Checks that every data set numbers the classes as the first does, which is the training's.

    Args:
        datasets: All data sets of a config.

    Yields:
        Faults.
    """
    named = [d for d in datasets if d.classes is not None and d.reader]
    for dataset in named[1:]:
        first = named[0]
        if dataset.scope == first.scope != 'mmpretrain' and dataset.classes != first.classes:
            yield Finding(
                f'{dataset.key}.metainfo.classes',
                f'has other classes than {first.key}, so that labels would be mixed up: '
                f'{_names(dataset.classes or ())} here, {_names(first.classes or ())} there'
                f'{_difference(first.classes or (), dataset.classes or ())}; '
                'name the same in the same order.',
            )


def compare_names(
    dataset: DataSet, path: str, found: Sequence[str], *, is_ordered: bool
) -> Iterator[Finding]:
    """Compares the names of a data set with those of an annotation file.

    Args:
        dataset: The data set.
        path: The file or folder that has other names.
        found: The names there.
        is_ordered: Whether labels are given in the order of ``found``.

    Yields:
        Faults that name both lists and the difference.
    """
    classes = dataset.classes
    if not classes or not found:
        return
    key = f'{dataset.key}.metainfo.classes'
    owner = 'names' if dataset.named_classes is not None else 'is not set, so there are'
    both = f'{path} has {_names(found)}; the config {owner} {_names(classes)}'
    write = f'write metainfo=dict(classes={tuple(found)!r}), in every dataset' if (
        len(found) <= _SHOWN
    ) else 'write the names of the file, in its order, in every dataset'  # fmt: skip
    lacking = [name for name in classes if name not in found]
    if len(lacking) == len(classes):
        nearest = _hints(lacking, found)
        message = f'none of its classes is in the annotations, so no box would be used: {both}'
        yield Finding(key, f'{message}{nearest}; {write}.', path=path)
    elif lacking:
        hints = [_with_hint(name, found) for name in lacking]
        yield Finding(
            key,
            f'{len(lacking)} of {len(classes)} classes are not in the annotations, and their boxes '
            f'would be missing: {listed_with_count(hints, shown=_SHOWN)}; {both}; {write}.',
            path=path,
        )
    elif is_ordered:
        order = [name for name in found if name in classes]
        if order != list(classes):
            yield Finding(
                key,
                'the classes are in another order than the categories of the annotation file, '
                f'from which MMDetection takes the labels{_difference(order, classes)}: {both}; '
                f'write metainfo=dict(classes={tuple(order)!r}), in every dataset.',
                path=path,
            )


def _names(names: Sequence[str]) -> str:
    return f'{len(names)} ({listed_with_count([repr(name) for name in names], shown=_SHOWN)})'


def _hints(lacking: Sequence[str], found: Sequence[str]) -> str:
    hints = [_with_hint(name, found) for name in lacking]
    near = [hint for hint in hints if 'did you mean' in hint]
    return f'; {listed_with_count(near)}' if near else ''


def _with_hint(name: str, names: Sequence[str]) -> str:
    hint = did_you_mean(name, names)
    return repr(name) if hint == '.' else f'{name!r} ({hint[2:]})'


def _difference(expected: Sequence[str], got: Sequence[str]) -> str:
    """The first place where two lists differ."""
    for index, (a, b) in enumerate(zip(expected, got, strict=False)):
        if a != b:
            return f' (label {index} is {a!r} there and {b!r} here)'
    return f' ({len(expected)} there, {len(got)} here)'
