"""An unpickler that makes tensors and plain data, and nothing else."""

from __future__ import annotations

import pickle
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

#: Modules that were renamed since the file was written.
_RENAMED = {'__builtin__': 'builtins', 'numpy.core.multiarray': 'numpy._core.multiarray'}
#: The kinds of NumPy numbers that are read: no objects, records or dates.
_NUMPY_KINDS = 'biufcSU'


class RefusedObjects(pickle.UnpicklingError):
    """A pickle asks for more than tensors and plain data.

    Args:
        names: What it asks for, such as ``'posix.system'``.
    """

    def __init__(self, names: list[str]) -> None:
        super().__init__(', '.join(names))
        self.names = names


def restricted_pickle(refused: list[str], with_tensors: bool = True) -> Any:
    """Makes a replacement of the module :mod:`pickle` for ``torch.load(pickle_module=...)``.

    A pickle is a program: it fetches any object by name, calls it, and sets attributes of what
    comes out. Here a name finds only what stands in the tables below, in wrappers that cannot be
    changed. Everything else yields an inert object, so that all names are found in one pass.

    Args:
        refused: Takes the names that are not allowed. What was loaded is to be thrown away if
            there is one.
        with_tensors: Whether to make tensors; without, each is ``None``, and no file of
            tensors is needed.

    Returns:
        An object with ``Unpickler`` and ``load``. What they return may hold stand-ins, which
        :func:`resolve` replaces.
    """

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            full_name = f'{_RENAMED.get(module, module)}.{name}'
            found = _find(full_name, with_tensors)
            if found is None:
                if full_name not in refused:
                    refused.append(full_name)
                return _Inert
            return found

    def load(file: Any, **options: Any) -> Any:
        unpickler = Unpickler(file, **options)
        if not with_tensors:  # torch gives its unpickler a method that reads them
            unpickler.persistent_load = lambda _: None  # type: ignore[method-assign]
        return unpickler.load()

    return SimpleNamespace(__name__='mmela', Unpickler=Unpickler, load=load)


def resolve(value: Any) -> Any:
    """Replaces the stand-ins of NumPy's and MMEngine's objects in what was unpickled.

    Args:
        value: What was unpickled. Its dicts and lists are changed in place.

    Returns:
        The same with the objects.
    """
    seen: set[int] = set()

    def walk(node: Any) -> Any:
        if isinstance(node, _StandIn):
            return node.resolve()
        if isinstance(node, tuple) and type(node) is not torch.Size:
            return tuple(walk(item) for item in node)
        if isinstance(node, (dict, list)) and id(node) not in seen:
            seen.add(id(node))
            items = list(node.items()) if isinstance(node, dict) else list(enumerate(node))
            for key, item in items:
                replaced = walk(item)
                if replaced is not item:
                    node[key] = replaced
        return node

    return walk(value)


class _Call:
    """A function that a pickle may call, and not change."""

    __slots__ = ('_function',)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise RefusedObjects(['attributes of a function'])


class _Inert:
    """Stands where something was refused, and swallows what is done to it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any) -> _Inert:
        return self

    __setstate__ = append = extend = add = __setitem__ = __call__


class _StandIn:
    """Holds the state of an object until the pickle is read."""

    def resolve(self) -> Any:
        raise NotImplementedError


class _History(_StandIn):
    """An MMEngine HistoryBuffer without the functions that its state brings along."""

    def __setstate__(self, state: dict) -> None:
        self._log, self._counts = state['_log_history'], state['_count_history']
        self._length = state['max_length']

    def resolve(self) -> HistoryBuffer:
        return HistoryBuffer(resolve(self._log), resolve(self._counts), self._length)


class _SchedulerFunction(_StandIn):
    """One of the two curves of MMEngine's OneCycle schedulers, which keep it in their state."""

    def __init__(self, name: str) -> None:
        self._name = name

    def resolve(self) -> Any:
        return getattr(OneCycleParamScheduler, self._name)


class _Dtype(_StandIn):
    """A NumPy dtype of numbers or text. NumPy's own takes flags from a file that break memory."""

    def __init__(self, text: str, *_: Any) -> None:
        self.dtype = np.dtype(str(text))
        if self.dtype.kind not in _NUMPY_KINDS:
            raise RefusedObjects([f'numpy.dtype({text!r})'])

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])

    def resolve(self) -> np.dtype:
        return self.dtype


class _Array(_StandIn):
    """A NumPy array of numbers or text."""

    def __init__(self, *_: Any) -> None:
        self._array = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, content = state
        order: Any = 'F' if is_fortran else 'C'
        array: np.ndarray = np.ndarray(shape, dtype.dtype, _as_bytes(content), order=order)
        self._array = array.astype(dtype.dtype.newbyteorder('='), order)  # a copy

    def resolve(self) -> np.ndarray:
        return self._array


def _numpy_number(dtype: _Dtype, content: bytes | str) -> Any:
    return np.frombuffer(_as_bytes(content), dtype.dtype, count=1)[0]


def _as_bytes(content: bytes | str) -> bytes:
    """Bytes as Python 2 pickled them, or as they are."""
    return content if isinstance(content, bytes) else content.encode('latin-1')


def _encode(text: str, encoding: str = 'latin1') -> bytes:
    """How protocol 2 keeps bytes. Any other encoding would be imported by its name."""
    if encoding != 'latin1':
        raise RefusedObjects([f'_codecs.encode({encoding!r})'])
    return text.encode('latin-1')


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> torch.Tensor:
    """A tensor without the hooks on its gradient; a third value of the rest is its metadata."""
    requires_grad, _, *metadata = rest or (False, None)
    _check_extent(storage, offset, size, stride, storage.dtype)
    return torch._utils._rebuild_tensor_v2(
        storage, offset, size, stride, requires_grad, OrderedDict(), *metadata
    )


def _check_extent(storage: Any, offset: int, size: Any, stride: Any, dtype: torch.dtype) -> None:
    """Torch would enlarge a storage that is too small for its tensor, without any content."""
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if all(size) and (last + 1) * dtype.itemsize > storage._untyped_storage.nbytes():
        raise pickle.UnpicklingError('a tensor is larger than its data')


def _tensor_with_dtype(
    storage: Any, offset: int, size: Any, stride: Any, grad: bool, _: Any, dtype: Any, *rest: Any
) -> torch.Tensor:
    """As :func:`_tensor` for the unsigned dtypes, which have no storage type of their own."""
    _check_extent(storage, offset, size, stride, dtype)
    return torch._utils._rebuild_tensor_v3(
        storage, offset, size, stride, grad, OrderedDict(), dtype, *rest
    )


def _parameter(data: torch.Tensor, requires_grad: bool, *_: Any) -> torch.nn.Parameter:
    return torch.nn.Parameter(data, requires_grad)


def _getattr(owner: Any, name: str) -> Any:
    """How protocol 2 names a method: the statistics of HistoryBuffer, a curve of OneCycle."""
    if owner is _History and name in ('min', 'max', 'mean', 'current'):
        return name  # HistoryBuffer has the function anyway
    if owner is _ONE_CYCLE and name in ('_annealing_cos', '_annealing_linear'):
        return _SchedulerFunction(name)
    raise RefusedObjects([f'builtins.getattr({name!r})'])


_TENSORS: dict[str, Callable[..., Any]] = {
    'torch._utils._rebuild_tensor': _tensor,
    'torch._utils._rebuild_tensor_v2': _tensor,
    'torch._utils._rebuild_tensor_v3': _tensor_with_dtype,
    'torch._utils._rebuild_parameter': _parameter,
}
_CALLS: dict[str, Callable[..., Any]] = {
    'builtins.bytes': lambda content=b'': bytes(_as_bytes(content)),
    'builtins.bytearray': lambda content=b'', *_: bytearray(_as_bytes(content)),
    'builtins.complex': complex,
    'builtins.frozenset': frozenset,
    'builtins.getattr': _getattr,
    'builtins.set': set,
    'builtins.slice': slice,
    '_codecs.encode': _encode,
    'collections.Counter': Counter,
    'collections.OrderedDict': OrderedDict,
    'collections.deque': deque,
    'mmengine.config.config.ConfigDict': ConfigDict,
    'numpy._core.multiarray._reconstruct': _Array,
    'numpy._core.multiarray.scalar': _numpy_number,
    'numpy.dtype': _Dtype,
    'torch.Size': torch.Size,
    'torch.device': torch.device,
}
_ONE_CYCLE = _Call(OneCycleParamScheduler._annealing_linear)  # only looked at, never called
_OBJECTS: dict[str, Any] = {
    'mmengine.logging.history_buffer.HistoryBuffer': _History,
    'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler': _ONE_CYCLE,
    'numpy.ndarray': _Call(_Array),
}


def _find(name: str, with_tensors: bool) -> Any:
    if name in _TENSORS:
        return _Call(_TENSORS[name] if with_tensors else lambda *_: None)
    if name in _CALLS:
        return _Call(_CALLS[name])
    if name in _OBJECTS:
        return _OBJECTS[name]
    owner, _, attribute = name.rpartition('.')
    if owner == 'torch' and isinstance(getattr(torch, attribute, None), torch.dtype):
        return getattr(torch, attribute)
    if owner in ('torch', 'torch.cuda', 'torch.storage') and attribute.endswith('Storage'):
        # Torch finds those of other dtypes itself.
        return SimpleNamespace(dtype=torch.uint8)
    if owner in _OBJECTS:  # as protocol 4 names a method
        return _getattr(_OBJECTS[owner], attribute)
    return None
