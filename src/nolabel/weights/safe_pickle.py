"""Reading pickles of strangers without running anything they say.

A pickle is a program. This reader runs it with every global replaced: the few that rebuild tensors, arrays and
plain containers by our own harmless versions, other *classes* (configuration nodes, namespaces) by
:class:`Inert` stand-ins that only collect what they are given, and everything else by a refusal. Nothing a
file names is imported or called. :func:`plain` then turns the collected stand-ins into tensors, dictionaries
and lists.
"""

from __future__ import annotations

import _compat_pickle
import io
import pickle
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

import numpy as np
import torch

from nolabel.errors import WeightsError

__all__ = ["HostileCallError", "Inert", "SafeUnpickler", "Storage", "plain"]


class HostileCallError(WeightsError):
    """The file asks for code to be run."""


def _refuse(name: str) -> NoReturn:
    raise HostileCallError(
        f"the file carries code ({name}): it is not only weights",
        hint="do not load it with other tools either; get the file from its official source",
    )


class Storage:
    """A stretch of raw numbers; its bytes may become known after the objects that look into it."""

    def __init__(self, dtype: torch.dtype | None, count: int, data: bytearray | None = None) -> None:
        self.dtype, self.count, self.data = dtype, count, data

    def tensor(self, dtype: torch.dtype | None) -> torch.Tensor:
        """Return the numbers as a flat tensor, without a copy."""
        dtype = self.dtype or dtype
        if self.data is None or dtype is None:
            raise WeightsError("a tensor's numbers are missing from the file")
        if len(self.data) == 0:
            return torch.empty(0, dtype=dtype)
        if self.dtype is not None and len(self.data) < self.count * dtype.itemsize:
            raise WeightsError("a tensor's numbers are cut short")
        return torch.frombuffer(self.data, dtype=dtype)


class _Lazy:
    """Something whose value is computed at the end, from harmless parts only."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build

    def __setstate__(self, state: object) -> None:
        """Ignore attributes laid on a tensor."""

    def value(self) -> Any:
        return self._build()


class _Array(_Lazy):
    """A NumPy array or dtype on its way: ``__setstate__`` brings its content."""

    def __init__(self, name: str | None = None) -> None:
        self.name, self.state = name, None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def dtype(self) -> np.dtype:
        """Read the record as a dtype of plain numbers, bytes or text; nothing else is let in."""
        name = self.name
        if not isinstance(name, str) or name.lstrip("<>=|")[:1] not in "biufcSUV?" or name.startswith("V"):
            raise WeightsError(f"an array of type {name!r} is not numbers")
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "="
        return np.dtype(name).newbyteorder(">" if order == ">" else "<" if order == "<" else "=")

    def value(self) -> Any:
        if self.name is not None:
            return str(self.dtype())
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise WeightsError("an array of the file is damaged")
        _, shape, kind, fortran, raw = self.state
        if isinstance(raw, str):  # written by Python 2
            raw = raw.encode("latin1")
        if not isinstance(kind, _Array) or not isinstance(raw, bytes):
            raise WeightsError("an array of the file holds objects, not numbers")
        flat = np.frombuffer(bytearray(raw), dtype=kind.dtype())
        return flat.reshape(shape, order="F" if fortran else "C")


class Inert(dict):
    """Stands in for an object of an unknown class: collects arguments, state and items, and does nothing."""

    qualified = "object"

    def __new__(cls, *arguments: Any, **named: Any) -> Inert:
        """Keep what the class would have been called with."""
        made = super().__new__(cls)
        made.arguments = arguments
        made.state = None
        made.sequence = []
        return made

    arguments: tuple[Any, ...]
    state: Any
    sequence: list[Any]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stand-in is not stored")

    def append(self, item: Any) -> None:
        """Collect a list item."""
        self.sequence.append(item)

    def extend(self, items: Any) -> None:
        """Collect list items."""
        self.sequence.extend(items)

    def add(self, item: Any) -> None:
        """Collect a set item."""
        self.sequence.append(item)

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def contents(self) -> Any:
        """Return the most telling plain value, its parts not yet plain."""
        state = self.state
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
            state = {**(state[0] or {}), **state[1]} if isinstance(state[0], dict | None) else state[1]
        if len(self):
            return dict(self)
        if self.sequence:
            return list(self.sequence)
        if isinstance(state, dict):
            for key in ("_content", "_val"):  # omegaconf containers and leaves
                if key in state:
                    return state[key]
            return dict(state)
        if state is not None:
            return state
        if self.qualified.startswith("pathlib."):
            return "/".join(str(part) for part in self.arguments).replace("//", "/")
        if len(self.arguments) == 1:
            return self.arguments[0]
        return {"class": self.qualified, "arguments": list(self.arguments)}


# --- our own versions of what tensors and arrays are rebuilt with ------------------------------------------


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, *rest: Any, dtype: torch.dtype | None = None
) -> _Lazy:
    if not isinstance(storage, Storage | _Lazy):
        raise WeightsError("a tensor of the file is damaged")

    def build() -> torch.Tensor:
        real = storage.value() if isinstance(storage, _Lazy) else storage
        if not isinstance(real, Storage):
            raise WeightsError("a tensor of the file is damaged")
        flat = real.tensor(dtype)
        size_, stride_ = tuple(map(int, size)), tuple(map(int, stride))
        last = (
            int(offset) + sum((n - 1) * s for n, s in zip(size_, stride_, strict=True)) if all(size_) else 0
        )
        if any(n < 0 for n in size_ + stride_) or int(offset) < 0 or (all(size_) and last >= flat.numel()):
            raise WeightsError("a tensor of the file is larger than its numbers")
        if not all(size_):
            return torch.empty(size_, dtype=flat.dtype)
        return flat.as_strided(size_, stride_, int(offset))

    return _Lazy(build)


def _tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any
) -> _Lazy:
    if not isinstance(dtype, torch.dtype):
        raise WeightsError("a tensor of the file is damaged")
    return _tensor(storage, offset, size, stride, dtype=dtype)


def _first(value: Any = None, *rest: Any) -> Any:
    """A Parameter is its data."""
    return value


def _from_type(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    if not isinstance(function, _Function) or function.call not in (_tensor, _tensor_v3, _first):
        _refuse(_name_of(function))
    return function(*arguments)


def _nested(content: Any) -> Any:
    from nolabel.weights.archives import read_torch

    if not isinstance(content, bytes):
        raise WeightsError("a tensor of the file is damaged")
    return read_torch(io.BytesIO(content))


def _reconstruct_object(kind: Any, base: Any, state: Any) -> Any:
    if not (isinstance(kind, type) and issubclass(kind, Inert | set | frozenset | dict)):
        _refuse(f"copyreg._reconstructor of {_name_of(kind)}")
    return kind()


def _new_object(kind: Any, *arguments: Any) -> Any:
    if not (isinstance(kind, type) and issubclass(kind, Inert | dict)):
        _refuse(f"copyreg.__newobj__ of {_name_of(kind)}")
    return kind.__new__(kind, *arguments)


def _new_array(*arguments: Any) -> _Array:
    return _Array()


def _new_dtype(name: Any = None, *rest: Any) -> _Array:
    return _Array(name if isinstance(name, str) else str(name))


def _scalar(kind: Any, raw: Any = b"") -> _Lazy:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(kind, _Array) or not isinstance(raw, bytes):
        raise WeightsError("a number of the file is damaged")
    return _Lazy(lambda: np.frombuffer(raw, dtype=kind.dtype(), count=1)[0].item())


def _frombuffer(raw: Any, kind: Any, shape: Any, order: Any) -> _Lazy:
    """Arrays of pickle protocol 5."""
    if not isinstance(kind, _Array) or not isinstance(raw, bytes | bytearray | pickle.PickleBuffer):
        raise WeightsError("an array of the file is damaged")
    return _Lazy(lambda: np.frombuffer(bytearray(raw), kind.dtype()).reshape(shape, order=order))


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "utf8", "ascii"):
        raise WeightsError("text of the file is damaged")
    return text.encode(encoding)


class _Function:
    """A function of ours in a file's hands: it can be called, but no attribute can be laid on it."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *arguments: Any) -> Any:
        return self.call(*arguments)

    def __setstate__(self, state: object) -> None:
        """Ignore attributes: they would outlive the file."""


class _Dict(dict):
    """An OrderedDict is a dict; PyTorch lays ``_metadata`` on it."""

    def __setstate__(self, state: object) -> None:
        """Ignore ``_metadata``."""


def _default_dict(factory: Any = None, *rest: Any) -> _Dict:
    return _Dict()


_ARRAY_MODULES = tuple(
    f"numpy.{core}.{module}" for core in ("core", "_core") for module in ("multiarray", "numeric")
)
_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Dict,
    ("collections", "defaultdict"): _default_dict,
    ("collections", "Counter"): _Dict,
    ("copyreg", "_reconstructor"): _reconstruct_object,
    ("copyreg", "__newobj__"): _new_object,
    ("_codecs", "encode"): _encode,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    ("torch.storage", "_load_from_bytes"): _nested,
    ("torch", "Size"): tuple,
    ("torch.serialization", "_get_layout"): _first,
    **{
        ("builtins", kind.__name__): kind
        for kind in (set, frozenset, dict, list, tuple, int, float, bool, str)
    },
    **{("builtins", kind.__name__): kind for kind in (bytes, complex, slice)},
    ("builtins", "bytearray"): lambda raw=b"", *_: _encode(raw) if isinstance(raw, str) else bytes(raw),
    ("builtins", "object"): type("object", (Inert,), {"qualified": "builtins.object"}),
    **{(module, "_reconstruct"): _new_array for module in _ARRAY_MODULES},
    **{(module, "scalar"): _scalar for module in _ARRAY_MODULES},
    **{(module, "_frombuffer"): _frombuffer for module in _ARRAY_MODULES},
    ("numpy", "dtype"): _new_dtype,
    ("numpy", "ndarray"): _Array,
}
_SAFE = {key: value if isinstance(value, type) else _Function(value) for key, value in _GLOBALS.items()}
# Classes of the standard library that are only data; they become stand-ins, too.
_DATA_CLASSES = {
    "argparse": {"Namespace"},
    "collections": {"deque"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "functools": {"partial"},  # never called
    "pathlib": {"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "pathlib._local": {"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "types": {"SimpleNamespace"},
    "uuid": {"UUID"},
}
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": None,
}


class StorageKind:
    """Names the type of a storage in a persistent id; cannot be called."""

    def __init__(self, name: str) -> None:
        self.dtype = _STORAGES[name]


class _NotCallable:
    """A function the file names. Naming it is harmless; calling it is refused."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any, **named: Any) -> NoReturn:
        _refuse(self.name)

    def __setstate__(self, state: object) -> None:
        """Ignore attributes."""


def _name_of(value: Any) -> str:
    return str(
        getattr(value, "qualified", None) or getattr(value, "name", None) or getattr(value, "__name__", value)
    )


class SafeUnpickler(pickle.Unpickler):
    """Reads one pickle; every global it names is looked up here and nowhere else.

    Args:
        file: where to read.
        storage: called with a persistent id for each stored stretch of numbers.
    """

    def __init__(self, file: BinaryIO, storage: Callable[[Any], Storage] | None = None) -> None:
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def persistent_load(self, identifier: Any) -> Storage:
        """Return the storage a persistent id speaks of."""
        if self._storage is None:
            raise WeightsError("the file refers to numbers that are stored elsewhere")
        return self._storage(identifier)

    def find_class(self, module: str, name: str) -> Any:
        """Return the harmless version of a global, or refuse it."""
        if (module, name) in _compat_pickle.NAME_MAPPING:  # names of Python 2
            module, name = _compat_pickle.NAME_MAPPING[module, name]
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        if (module, name) in _SAFE:
            return _SAFE[module, name]
        if module in ("torch", "torch.cuda", "torch.storage") and name in _STORAGES:
            return StorageKind(name)
        top = module.partition(".")[0]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        qualified = f"{module}.{name}"
        if name in _DATA_CLASSES.get(module, ()):
            return _stand_in(qualified)
        if top == "typing":
            return _stand_in(qualified)
        if top in sys.stdlib_module_names or top in ("commands", "popen2"):
            _refuse(_spoken(module, name))
        last = name.rpartition(".")[2].lstrip("_")
        if "." not in name and (last[:1].isupper() or module.startswith("numpy.random")):
            return _stand_in(qualified)
        return _NotCallable(qualified)


def _spoken(module: str, name: str) -> str:
    """Name a refused global as people know it: ``posix.system`` is ``os.system``."""
    people_say = {"posix": "os", "nt": "os", "_pickle": "pickle", "_io": "io"}
    return f"{people_say.get(module, module)}.{name}"


def _stand_in(qualified: str) -> type[Inert]:
    return type(qualified.rpartition(".")[2], (Inert,), {"qualified": qualified})


def plain(value: Any, _seen: dict[int, Any] | None = None) -> Any:
    """Turn what :class:`SafeUnpickler` returned into tensors, arrays, dictionaries, lists and numbers."""
    seen = {} if _seen is None else _seen
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype):
        return value
    if id(value) in seen:
        return seen[id(value)][0]
    result: Any
    if isinstance(value, _Lazy):
        result = value.value()
    elif isinstance(value, Inert):
        seen[id(value)] = (None, value)  # a parent it points back to
        result = plain(value.contents(), seen)
    elif isinstance(value, dict):
        result = {}
        seen[id(value)] = (result, value)
        result.update({_key(plain(key, seen)): plain(item, seen) for key, item in value.items()})
    elif isinstance(value, list):
        result = []
        seen[id(value)] = (result, value)
        result.extend(plain(item, seen) for item in value)
    elif isinstance(value, tuple):
        result = tuple(plain(item, seen) for item in value)
    elif isinstance(value, set | frozenset):
        result = sorted((plain(item, seen) for item in value), key=repr)
    elif isinstance(value, type):
        result = getattr(value, "qualified", value.__name__)
    elif isinstance(value, Storage):
        result = value.tensor(torch.uint8)
    elif isinstance(value, _NotCallable):
        result = value.name
    else:
        result = _name_of(value) if callable(value) else str(value)
    seen[id(value)] = (result, value)  # the value is kept alive, or its id would be given anew
    return result


def _key(key: Any) -> Any:
    return key if isinstance(key, str | int | float | bool | tuple | bytes) or key is None else str(key)
