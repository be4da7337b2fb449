"""Names the file and the index where a sample cannot be read during a run.

The toolboxes raise whatever the decoder raises, in most cases without the name of the file, and
from a process that loads data it arrives as a traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmela.engine.data.file_faults import decode, file_fault
from mmela.engine.dataset_configs import is_remote
from mmela.errors import UserError

_PATHS = (('img_path', 'image'), ('seg_map_path', 'mask'))


class BrokenSampleError(UserError):
    """A file of a sample cannot be read.

    Args:
        message: The message for the user. A DataLoader hands over the traceback of its worker, which
            ends with it.
    """

    #: Another process may have no such sample: the one that has it speaks at once.
    is_of_one_process = True

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(f'{type(self).__name__}: ')[2].strip())


class _NamingReader:
    """Stands for the ``prepare_data`` of one data set."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __call__(self, index: int) -> Any:
        try:
            return type(self.dataset).prepare_data(self.dataset, index)
        except Exception as error:
            fault = _fault_of_sample(self.dataset, index)
            if fault is None:
                raise
            raise BrokenSampleError(fault) from error


def name_broken_files(dataset: Any) -> None:
    """Makes a data set answer an unreadable file with its name.

    Args:
        dataset: What a dataloader reads; changed in place, below its wrappers. Data sets that are
            none of MMEngine's stay as they are.
    """
    for leaf in _leaves(dataset):
        if hasattr(type(leaf), 'prepare_data') and 'prepare_data' not in vars(leaf):
            leaf.prepare_data = _NamingReader(leaf)


def _leaves(dataset: Any) -> Iterator[Any]:
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    inner = [item for item in inner if item is not None]
    if not inner:
        yield dataset
    for item in inner:
        yield from _leaves(item)


def _reads_elsewhere(dataset: Any) -> bool:
    """Whether paths may be keys of another storage backend than local files, such as LMDB."""
    readers = [dataset, *getattr(getattr(dataset, 'pipeline', None), 'transforms', ())]
    arguments = [
        getattr(reader, name, None) for reader in readers for name in ('backend_args', 'file_client_args')
    ]
    return any(isinstance(args, dict) and is_remote({'backend_args': args}) for args in arguments)


def _fault_of_sample(dataset: Any, index: int) -> str | None:
    """The sentence about the first local file of a sample that cannot be read."""
    if _reads_elsewhere(dataset):
        return None
    info = dataset.get_data_info(index)
    for key, name in _PATHS:
        path = info.get(key)
        if not isinstance(path, str) or '://' in path:
            continue
        fault = file_fault(path)
        if not fault:
            backend, flag = ('cv2', 'color') if name == 'image' else ('pillow', 'unchanged')
            _, fault = decode(path, backend, flag)
        if fault:
            return (
                f'the {name} {path} (sample {index} of the {type(dataset).__name__}) {fault}. '
                'Replace it or remove it from the annotations; --resume continues a training from '
                'its last checkpoint. To check all files: '
                'python tools/misc/verify_dataset.py CONFIG.'
            )
    return None
