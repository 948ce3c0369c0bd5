"""The user's entry script: executed once, its functions found and their signatures checked.

Changes ``sys.path``, ``sys.argv`` and ``sys.modules`` of the process, so only zygote and workers call it.
Never writes byte code beside the script, and never runs old byte code: the file is compiled as it is now.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import inspect
import linecache
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, cast

from batchflow.errors import EntryScriptError
from batchflow.worker.failures import message_of, type_name, user_traceback

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class EntryScript(NamedTuple):
    """The functions of one executed script; the optional ones are None where it has none."""

    module: ModuleType
    run: Callable[..., object]
    wants_context: bool
    """Whether ``run`` takes a ``MiniBatchContext`` as its second argument."""
    init: Callable[[], object] | None
    shutdown: Callable[[], object] | None
    init_shared: Callable[[], object] | None


def load_entry_script(
    path: Path, source_directory: Path, arguments: Sequence[str], source: bytes | None = None
) -> EntryScript:
    """Execute the script as the module named after its file, with ``sys.argv`` ``[script, *arguments]``.

    ``source``: what to execute, whatever the file holds by now.  The script's folder, then ``source_directory``, come
    first on ``sys.path``.  Raises ``EntryScriptError`` if it cannot be read, raises anything (``SystemExit`` too), or
    has no usable ``run()``.
    """
    if source is None:
        source = _read(path)
    else:
        _show_in_tracebacks(path, source)
    for folder in (str(source_directory), str(path.parent)):
        if sys.path[:1] != [folder]:
            sys.path.insert(0, folder)
    sys.argv = [str(path), *arguments]
    module = _execute(path, source)
    run = _run_function(path, module)
    return EntryScript(
        module=module,
        run=run,
        wants_context=_wants_context(path, run),
        init=_hook(path, module, "init"),
        shutdown=_hook(path, module, "shutdown"),
        init_shared=_hook(path, module, "init_shared"),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EntryScriptError(f"entry_script: cannot read {path}: {error.strerror}") from error


def _show_in_tracebacks(path: Path, source: bytes) -> None:
    """Lines of the file in a traceback are those that ran."""
    with contextlib.suppress(SyntaxError, UnicodeDecodeError):  # told when it is executed
        lines = importlib.util.decode_source(source).splitlines(keepends=True)
        linecache.cache[str(path)] = (len(source), None, lines, str(path))


def _execute(path: Path, source: bytes) -> ModuleType:
    """Run the file as a module; whatever it raises becomes an ``EntryScriptError`` with its traceback."""
    name = _module_name(path)
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None:
        raise EntryScriptError(f"entry_script: {path} cannot be a module")
    try:
        code = loader.source_to_code(source, str(path))
    except (SyntaxError, ValueError) as error:
        raise _broken(path, error.with_traceback(None)) from None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        raise _broken(path, error) from error
    return module


def _module_name(path: Path) -> str:
    """The stem of the file, unless that would hide a module of Python's or one that is loaded."""
    stem = path.stem
    hides = stem in sys.modules or stem in sys.stdlib_module_names or stem == "batchflow"
    return f"entry_script_{stem}" if hides else stem


def _broken(path: Path, error: BaseException) -> EntryScriptError:
    message = f"{path} cannot be imported: {type_name(type(error))}: {message_of(error)}"
    return EntryScriptError(message, traceback=user_traceback(error))


def _run_function(path: Path, module: ModuleType) -> Callable[..., object]:
    run = getattr(module, "run", None)
    if run is None:
        raise EntryScriptError(
            f"{path} has no function run()", hint="define run(mini_batch); it returns one element for each item"
        )
    if not callable(run):
        raise EntryScriptError(f"{path}: run is not a function but of type {type_name(type(run))}")
    if inspect.iscoroutinefunction(run) or inspect.isasyncgenfunction(run):
        raise EntryScriptError(f"{path}: run() must not be async", hint="call asyncio.run() in it")
    return cast(Callable[..., object], run)


def _wants_context(path: Path, run: Callable[..., object]) -> bool:
    """Whether ``run`` has a second positional parameter for the context; raises if it cannot be called with one or two.

    One with a default value takes the context only if its name says so: ``run(mini_batch, threshold=0.5)`` worked
    before there was a context and keeps its 0.5.
    """
    parameters = _parameters(run)
    positional = [one for one in parameters if one.kind in _POSITIONAL]
    takes_any = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    required = [one.name for one in positional[2:] if one.default is one.empty]
    required += [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty]
    if (not positional and not takes_any) or required:
        names = ", ".join(str(one) for one in parameters)
        raise EntryScriptError(
            f"{path}: run({names}) cannot be called with a mini-batch",
            hint="define run(mini_batch) or run(mini_batch, context)",
        )
    if len(positional) < 2:
        return False
    return positional[1].default is inspect.Parameter.empty or "context" in positional[1].name.lower()


def _hook(path: Path, module: ModuleType, name: str) -> Callable[[], object] | None:
    """An optional function without parameters."""
    function = getattr(module, name, None)
    if function is None:
        return None
    if not callable(function):
        raise EntryScriptError(f"{path}: {name} is not a function but of type {type_name(type(function))}")
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [one.name for one in _parameters(function) if one.default is one.empty and one.kind not in variable]
    if required:
        raise EntryScriptError(
            f"{path}: {name}() is called without arguments, but it needs {', '.join(required)}",
            hint="read the arguments from sys.argv",
        )
    return cast(Callable[[], object], function)


def _parameters(function: Callable[..., object]) -> list[inspect.Parameter]:
    """Of a function that cannot tell, written in C, none but ``*args``."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return [inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)]
