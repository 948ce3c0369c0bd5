"""An exception as bounded text, ready to cross a process boundary: nothing of the exception itself is kept or pickled.

Never raises, whatever the exception's own methods do.

Bounds: message ``MESSAGE_SIZE_MAX`` bytes of UTF-8; traceback ``FRAMES_MAX`` frames over all chained exceptions, each
exception's middle frames left out first, and ``TRACEBACK_SIZE_MAX`` bytes.
"""

from __future__ import annotations

import importlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias, TypedDict

from batchflow.errors import BatchflowError, ContractError, EntryScriptError, TableError

MESSAGE_SIZE_MAX = 8 * 1024
FRAMES_MAX = 64
TRACEBACK_SIZE_MAX = 64 * 1024

_CHAIN_MAX = 8
_GROUP_MEMBERS_MAX = 8
_GROUP_DEPTH_MAX = 3
_LINE_SIZE_MAX = 2 * 1024
_HIDDEN = (
    f"{Path(__file__).parent.parent}/",
    "batchflow/_core",  # as the compiler names its files
    f"{Path(importlib.__file__).parent}/",
    "<frozen importlib",
)
"""How the file names of our frames and of the import system's begin."""

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


_REPEATED_SHOWN = 3
_Repeated: TypeAlias = "tuple[TracebackType, int]"
"""An entry of a traceback, and how many more like it follow that are not shown."""


class FailureText(TypedDict):
    """``kind`` as in ``model.Failure``; all text is valid UTF-8."""

    kind: Literal["exception", "contract"]
    error_type: str
    message: str
    traceback: str


def describe_failure(error: BaseException) -> FailureText:
    """What to tell about ``error``: the traceback has the user's frames only, outermost first.

    A traceback that consists of batchflow's frames alone is kept if the error may be a bug of ours.
    """
    return {
        "kind": "contract" if issubclass(type(error), ContractError) else "exception",
        "error_type": type_name(type(error)),
        "message": message_of(error),
        "traceback": user_traceback(error),
    }


def type_name(kind: type) -> str:
    """``ValueError``, ``package.module.Name``."""
    try:
        module, name = kind.__module__, kind.__qualname__
        return bounded(name if module in ("builtins", "__main__") else f"{module}.{name}", 200)
    except BaseException:
        return "an exception whose type has no name"


def message_of(error: BaseException) -> str:
    """``str(error)``, bounded, with the hint if it is one of ours."""
    try:
        if type(error) is SystemExit:
            return bounded(f"the script called sys.exit({_code(error)})", MESSAGE_SIZE_MAX)
        hint = error.hint if isinstance(error, BatchflowError) else None
        return bounded(str(error) + (f"\nhint: {hint}" if hint else ""), MESSAGE_SIZE_MAX)
    except BaseException as second:
        return f"<the message is unknown: __str__ raised {type_name(type(second))}>"


def _code(error: SystemExit) -> str:
    return "" if error.code is None else bounded(repr(error.code), 200)


def bounded(text: str, size: int) -> str:
    """At most ``size`` bytes of UTF-8, the end replaced if needed; lone surrogates as ``\\udcXX``."""
    data = text[:size].encode("utf-8", "backslashreplace")
    if len(text) <= size and len(data) <= size:
        return data.decode()
    note = f"… ({len(text)} characters)"
    return data[: max(0, size - len(note.encode()))].decode("utf-8", "ignore") + note


def user_traceback(error: BaseException) -> str:
    """The traceback text of ``error`` without our frames and those of the import system."""
    try:
        if isinstance(error, TableError):
            return ""  # the message says all, and no code of the user's was running
        if isinstance(error, EntryScriptError):
            return bounded(error.traceback, TRACEBACK_SIZE_MAX)
        return bounded("".join(_Report(FRAMES_MAX).chain(error)), TRACEBACK_SIZE_MAX)
    except BaseException as second:
        return f"<the traceback is unknown: formatting it raised {type_name(type(second))}>"


class _Report:
    """Formats exceptions as Python does, as long as there are frames left to show."""

    def __init__(self, frames_left: int) -> None:
        self._frames_left = frames_left
        self._seen: set[int] = set()

    def chain(self, error: BaseException, depth: int = 0) -> list[str]:
        """The exception and what led to it, causes first; the exception itself gets its frames first."""
        parts: list[str] = []
        current: BaseException | None = error
        link = ""
        for _ in range(_CHAIN_MAX):
            if current is None or id(current) in self._seen:
                break
            self._seen.add(id(current))
            parts.insert(0, "".join([*self._one(current, depth), link]))
            current, link = _before(current)
        return parts

    def _one(self, error: BaseException, depth: int) -> Iterator[str]:
        frames = self._frames(error.__traceback__, may_be_ours=not issubclass(type(error), EntryScriptError))
        if frames:
            yield "Traceback (most recent call last):\n"
            yield from frames
        yield _last_line(error)
        yield from _notes(error)
        members: Any = getattr(error, "exceptions", None)
        if isinstance(members, tuple) and _is_group(error):
            yield from self._members(members, depth)

    def _members(self, members: tuple[BaseException, ...], depth: int) -> Iterator[str]:
        shown = members[:_GROUP_MEMBERS_MAX] if depth < _GROUP_DEPTH_MAX else ()
        for number, member in enumerate(shown, 1):
            text = "".join(self.chain(member, depth + 1))
            yield f"  +---------------- {number} ----------------\n"
            yield "".join(f"  | {line}\n" for line in text.splitlines())
        if len(shown) < len(members):
            yield f"  +---------------- {len(members) - len(shown)} more\n"

    def _frames(self, entry: TracebackType | None, *, may_be_ours: bool) -> list[str]:
        """The user's frames from ``entry`` inwards, as text; too many lose their middle."""
        count = self._frames_left
        first: list[_Repeated] = []
        last: deque[_Repeated] = deque(maxlen=max(1, count - count // 2))
        left_out = 0
        for one in _collapsed(_user_entries(entry) or (_entries(entry) if may_be_ours else ())):
            if len(first) < count // 2:
                first.append(one)
            else:
                left_out += 1 + last[0][1] if len(last) == last.maxlen else 0
                last.append(one)
        if count < 1:
            return []
        self._frames_left -= len(first) + len(last)
        lines = [_frame_text(*one) for one in first]
        if left_out:
            lines.append(f"  … {left_out} more frames …\n")
        return lines + [_frame_text(*one) for one in last]


def _entries(entry: TracebackType | None) -> Iterator[TracebackType]:
    while entry is not None:
        yield entry
        entry = entry.tb_next


def _user_entries(entry: TracebackType | None) -> list[TracebackType]:
    return [one for one in _entries(entry) if not _is_hidden(one.tb_frame.f_code.co_filename)]


def _collapsed(entries: Iterable[TracebackType]) -> Iterator[_Repeated]:
    """The entries; of one that is repeated, as Python does, the first three and how often it comes again."""
    for _, run in itertools.groupby(entries, _place):
        alike = list(run)
        shown = alike[:_REPEATED_SHOWN]
        yield from ((one, 0) for one in shown[:-1])
        yield shown[-1], len(alike) - len(shown)


def _place(entry: TracebackType) -> tuple[str, int, str]:
    code = entry.tb_frame.f_code
    return code.co_filename, entry.tb_lineno or 0, code.co_name


def _is_hidden(filename: str) -> bool:
    return filename.startswith(_HIDDEN)


def _frame_text(entry: TracebackType, again: int) -> str:
    import traceback  # not before the first failure

    text = bounded("".join(traceback.format_list(traceback.extract_tb(entry, limit=1))), _LINE_SIZE_MAX)
    return text + (f"  [Previous line repeated {again} more time{'s' if again > 1 else ''}]\n" if again else "")


def _before(error: BaseException) -> tuple[BaseException | None, str]:
    if error.__cause__ is not None:
        return error.__cause__, _CAUSE
    return (None if error.__suppress_context__ else error.__context__), _CONTEXT


def _last_line(error: BaseException) -> str:
    """``ValueError: message``; of a syntax error the place too."""
    if isinstance(error, SyntaxError):
        import traceback

        return bounded("".join(traceback.format_exception_only(type(error), error)), _LINE_SIZE_MAX)
    try:
        # What a bare "SystemExit: 3" means is said in the message.
        message = message_of(error) if type(error) is SystemExit else bounded(str(error), _LINE_SIZE_MAX)
    except BaseException:
        message = message_of(error)
    return f"{type_name(type(error))}: {message}\n" if message else f"{type_name(type(error))}\n"


def _notes(error: BaseException) -> Iterator[str]:
    """The lines added with ``add_note`` (Python 3.11 and later)."""
    notes: Any = getattr(error, "__notes__", None)
    for note in notes[:_CHAIN_MAX] if isinstance(notes, list) else ():
        if isinstance(note, str):
            yield bounded(note, _LINE_SIZE_MAX) + "\n"


def _is_group(error: BaseException) -> bool:
    """Whether it is an exception group, which Python 3.10 does not know."""
    return any(kind.__name__ == "BaseExceptionGroup" for kind in type(error).__mro__)
