"""How functions, arguments and results travel between a caller and the workers of ``map`` and ``Pool``.

What can be imported goes by name, everything else by value (cloudpickle): functions and classes of ``__main__``, of a
notebook, of a module that a fresh interpreter would not find; lambdas, closures.  A class that went by value comes back
as the very class it was.  Bytes made here are read by the caller's own children, or by the caller from these, only.
"""

from __future__ import annotations

import functools
import pickle
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from batchflow.errors import ContractError
from batchflow.worker.returned import is_a, is_array, type_name

PROTOCOL = 5
_MAIN = b"_main__"
"""In every pickle that names something of ``__main__``, or of ``__mp_main__``, as multiprocessing calls it."""
_SIZE_BYTES = 8
_REFUSED = (str, bytes, bytearray, memoryview, Mapping, set, frozenset, type)

_registry_lock = threading.RLock()


def dumps(value: object) -> bytes:
    """Pickle arguments or results; what the other side cannot import goes by value."""
    try:
        data = pickle.dumps(value, PROTOCOL)
    except Exception:
        return dumps_by_value(value)
    return dumps_by_value(value) if _MAIN in data else data


def dumps_by_value(value: object, modules: Iterable[str] = ()) -> bytes:
    """Pickle with cloudpickle; what is defined in ``modules`` goes by value too.  Raises what the pickling raises."""
    import cloudpickle
    from cloudpickle.cloudpickle import list_registry_pickle_by_value

    names = {name for name in (*modules, "__mp_main__") if isinstance(sys.modules.get(name), ModuleType)}
    with _registry_lock:  # cloudpickle's registry is the process's: leave it as it was
        added = [sys.modules[name] for name in names - list_registry_pickle_by_value()]
        for module in added:
            cloudpickle.register_pickle_by_value(module)
        try:
            return cloudpickle.dumps(value, PROTOCOL)  # type: ignore[no-any-return]
        finally:
            for module in added:
                cloudpickle.unregister_pickle_by_value(module)


def dump_function(function: Callable[..., Any]) -> bytes:
    """A function alone, by reference where it can be imported."""
    if reference_of(function.function if isinstance(function, (Batch, Chunk)) else function) is not None:
        return pickle.dumps(function, PROTOCOL)
    return dumps_by_value(function, unimportable_modules(function))


def reference_of(function: Callable[..., Any] | None) -> str | None:
    """``module:qualified.name`` if another process can import the very same function by it, else None."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__" or "<" in name:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is function and is_importable(module) else None


def unimportable_modules(*functions: Callable[..., Any] | None) -> list[str]:
    """The modules of these functions that another process could not import."""
    modules = {getattr(innermost(function), "__module__", None) for function in functions}
    return [name for name in modules if isinstance(name, str) and name != "__main__" and not is_importable(name)]


@functools.lru_cache(maxsize=1024)
def is_importable(name: str) -> bool:
    """Whether a fresh interpreter with our ``sys.path`` would find, by this name, the module that we have."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if spec is None or spec.name != name:
        return False
    if spec.origin in ("built-in", "frozen"):
        return True
    parent = name.rpartition(".")[0]
    if parent and not is_importable(parent):
        return False
    path = sys.modules[parent].__path__ if parent else None
    for finder in sys.meta_path:
        found = finder.find_spec(name, path)
        if found is not None:
            return bool(found.origin == spec.origin)
    return False


def innermost(function: Any) -> Any:  # noqa: ANN401
    """The Python function that a partial, a bound method or a callable object calls in the end."""
    for _ in range(100):
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, (Batch, Chunk)):
            function = function.function
        elif hasattr(function, "__func__"):
            function = function.__func__
        else:
            break
    if isinstance(function, (FunctionType, BuiltinFunctionType, type)):
        return function
    return type(function).__call__


def results_of(value: object, item_count: int) -> Any:  # noqa: ANN401
    """What a function returned for ``item_count`` items, as a list, tuple or array of so many results.

    Iterators are consumed here.  Raises ``ContractError`` for anything else and for another number of results.
    """
    if not isinstance(value, (list, tuple)) and not is_array(value):
        value = _as_list(value)
    if len(value) != item_count:
        raise ContractError(f"the function returned {len(value)} results for {item_count} items")
    return value


def _as_list(value: object) -> list[Any]:
    is_table = is_a(value, "pandas", "DataFrame") or is_a(value, "pyarrow", "Table", "RecordBatch")
    if isinstance(value, _REFUSED) or is_table or not isinstance(value, Iterable):
        raise ContractError(f"the function must return one result for each item, got {type_name(type(value))}")
    return list(value)


def dump_results(value: object) -> bytes:
    """Pickle what a function returned; raises ``ContractError`` if that cannot be done."""
    try:
        return dumps(value)
    except Exception as error:
        raise ContractError(f"the result cannot be sent back: {type_name(type(error))}: {error}") from error


class Batch:
    """Calls a function with a mini-batch and checks what it returns."""

    def __init__(self, function: Callable[[list[Any]], Iterable[Any]]) -> None:
        self.function = function

    def __call__(self, mini_batch: list[Any]) -> Any:  # noqa: ANN401
        item_count = len(mini_batch)  # before the function can change it
        return results_of(self.function(mini_batch), item_count)


class Chunk:
    """Several calls of one function in one."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, arguments: list[tuple[Any, ...]]) -> list[Any]:
        return [self.function(*one) for one in arguments]


# A call of ``Pool``: the size of the pickled function, the pickled function, the pickled arguments.


def dump_call(function: bytes, arguments: tuple[object, ...], keywords: dict[str, object]) -> bytes:
    return b"".join((len(function).to_bytes(_SIZE_BYTES, "little"), function, dumps((arguments, keywords))))


def split_call(payload: bytes) -> tuple[bytes, memoryview]:
    """The pickled function and the pickled ``(arguments, keywords)``."""
    view = memoryview(payload)
    end = _SIZE_BYTES + int.from_bytes(view[:_SIZE_BYTES], "little")
    return bytes(view[_SIZE_BYTES:end]), view[end:]
