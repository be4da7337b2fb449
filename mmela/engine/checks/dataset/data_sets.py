"""The data sets of a config as the toolboxes' classes see them, and the files of each sample."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from mmengine.config import Config

from mmela.engine.checks.classification import EXTENSIONS, image_folder
from mmela.engine.dataset_configs import is_remote, iter_datasets

#: Classes whose files are known here, subclasses included that do not read them otherwise.
_READERS = ('CocoDataset', 'XMLDataset', 'BaseSegDataset', 'CustomDataset', 'ImageNet')
#: Class folders that are listed at the start, and images looked at in each.
_FOLDERS, _PER_FOLDER = 12, 4


class Sample(NamedTuple):
    """The files of one sample."""

    number: int  #: its place in the data set, from 0
    image: str
    mask: str | None = None
    size: tuple[int, int] | None = None  #: width and height by the annotations


@dataclass(frozen=True)
class DataSet:
    """A data set of a config that is read from files on this machine."""

    key: str  #: its config key, such as ``train_dataloader.dataset``
    split: str
    cfg: dict
    scope: str  #: its toolbox
    cls: type

    @property
    def reader(self) -> str:
        """Name of the class that reads the files; ``''`` if it is not known here."""
        for base in self.cls.__mro__:
            if 'load_data_list' in vars(base) or 'parse_data_info' in vars(base):
                return base.__name__ if base.__name__ in _READERS else ''
        return ''

    def value(self, name: str) -> Any:
        """An argument, or the default that its class gives it."""
        if name in self.cfg:
            return self.cfg[name]
        for base in self.cls.__mro__:
            if '__init__' in vars(base):
                parameter = inspect.signature(vars(base)['__init__']).parameters.get(name)
                if parameter is not None and parameter.default is not inspect.Parameter.empty:
                    return parameter.default
        return None

    @cached_property
    def classes(self) -> tuple[str, ...] | None:
        """The class names, from the config or the toolbox's own; None if there are none."""
        classes = self.named_classes
        if classes is None:
            classes = getattr(self.cls, 'METAINFO', {}).get('classes')
        if isinstance(classes, str) and os.path.isfile(classes):
            with open(classes, encoding='utf-8', errors='replace') as file:
                classes = file.read().splitlines()
        return tuple(classes) if isinstance(classes, (list, tuple)) else None

    @property
    def named_classes(self) -> Any:
        """``metainfo.classes`` of the config."""
        return (self.cfg.get('metainfo') or {}).get('classes')

    @property
    def ann_file(self) -> str | None:
        """The annotation file, joined with the data root; None if the data set has none."""
        ann_file = self.value('ann_file')
        if not isinstance(ann_file, str) or not ann_file:
            return None
        return os.path.join(self.cfg.get('data_root') or '', ann_file)

    def folder(self, name: str) -> str:
        """The folder that ``data_prefix`` has for a kind of file, joined with the data root."""
        prefix = self.value('data_prefix') or {}
        prefix = prefix if isinstance(prefix, str) else prefix.get(name) or ''
        return os.path.join(self.cfg.get('data_root') or '', prefix)

    @property
    def subset(self) -> str:
        """The key of the argument that its files depend on, to look at each once."""
        names = ('data_root', 'ann_file', 'data_prefix', 'metainfo', 'split')
        return repr([self.cls, *(self.cfg.get(name) for name in names)])


def data_sets(cfg: Config, splits: Sequence[str]) -> list[DataSet]:
    """The local data sets of a config whose classes the toolboxes know.

    Args:
        cfg: The config; its toolbox has to be importable.
        splits: Any of ``'train'``, ``'val'``, ``'test'``.

    Returns:
        Each with its class.
    """
    found = []
    for leaf, key in iter_datasets(cfg, splits):
        scope = leaf.get('_scope_') or cfg.get('default_scope')
        cls = class_of(leaf.get('type'), scope, 'DATASETS')
        if cls is not None and not is_remote(leaf) and '://' not in str(leaf.get('data_root')):
            found.append(DataSet(key, key.partition('_dataloader')[0], leaf, str(scope), cls))
    return found


def class_of(kind: Any, scope: str | None, registry: str) -> type | None:
    """The class that a ``type`` of a config stands for.

    Args:
        kind: Name or class.
        scope: Scope in which a name without one is looked up.
        registry: Name of the root registry in MMEngine, such as ``'MODELS'``.

    Returns:
        The class; None where nothing of that name is registered.
    """
    if not isinstance(kind, str):
        return kind if inspect.isclass(kind) else None
    from mmengine import registry as mmengine_registry

    root = getattr(mmengine_registry, registry)
    try:
        with root.switch_scope_and_registry(scope) as scoped:
            cls = scoped.get(kind)
    except (ImportError, KeyError):
        return None  # the run itself names what is missing
    return cls if inspect.isclass(cls) else None


def samples(dataset: DataSet, images: Sequence[Sequence], *, at_start: bool) -> Iterator[Sample]:
    """The files of each sample of a data set, in its order.

    Args:
        dataset: The data set.
        images: For COCO: index, file name, width and height of each image.
        at_start: Whether a few images of each class folder will do.

    Yields:
        The samples.
    """
    if dataset.reader == 'CocoDataset':
        for index, name, width, height in images:
            size = (width, height) if width and height else None
            yield Sample(index, os.path.join(dataset.folder('img'), name), None, size)
    elif dataset.reader == 'XMLDataset':
        folder = os.path.join(dataset.folder('sub_data_root'), dataset.value('img_subdir'))
        for index, name in enumerate(_names(dataset)):
            yield Sample(index, os.path.join(folder, f'{name}.jpg'))
    elif dataset.reader == 'BaseSegDataset':
        image, mask = dataset.folder('img_path'), dataset.folder('seg_map_path')
        has_masks = bool((dataset.value('data_prefix') or {}).get('seg_map_path'))
        for index, name in enumerate(_names(dataset) or _listed_images(dataset)):
            path = os.path.join(mask, name + dataset.value('seg_map_suffix'))
            image_path = os.path.join(image, name + dataset.value('img_suffix'))
            yield Sample(index, image_path, path if has_masks else None)
    elif dataset.reader:
        root = image_folder(dataset.cfg)
        paths = _class_images(dataset, root, at_start)
        yield from (Sample(index, path) for index, path in enumerate(paths))


def _names(dataset: DataSet) -> list[str]:
    if dataset.ann_file is None or not os.path.isfile(dataset.ann_file):
        return []
    with open(dataset.ann_file, encoding='utf-8-sig', errors='replace') as file:
        return [name for name in map(str.strip, file) if name]


def _listed_images(dataset: DataSet) -> list[str]:
    """Names without suffix of the images below a folder, as MMSegmentation finds them."""
    root, suffix = dataset.folder('img_path'), dataset.value('img_suffix')
    found = [
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, names in os.walk(root)
        for name in names
        if name.endswith(suffix) and not name.startswith('.')
    ]
    return [name[: -len(suffix)] for name in sorted(found)]


def _class_images(dataset: DataSet, root: str | None, at_start: bool) -> Iterator[str]:
    extensions = tuple(str(e).lower() for e in dataset.cfg.get('extensions') or EXTENSIONS)
    names = sorted(os.listdir(root)) if root and os.path.isdir(root) else []
    for name in names[:: max(1, len(names) // _FOLDERS)] if at_start else names:
        found = (
            os.path.join(folder, file)
            for folder, _, files in os.walk(os.path.join(str(root), name))
            for file in files
            if file.lower().endswith(extensions)
        )
        yield from islice(found, _PER_FOLDER if at_start else None)
