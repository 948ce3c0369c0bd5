"""Exceptions on their way back, and arguments that are refused."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest

from batchflow.errors import EntryScriptError, UsageError
from batchflow.parallel.call_errors import RemoteTraceback, exception_of
from batchflow.parallel.call_setup import call_setup, call_spec
from batchflow.worker.calls import pickled_failure


def test_a_failure_comes_back_as_the_exception_with_the_traceback_as_its_cause():
    try:
        raise KeyError("missing")
    except KeyError as error:
        payload = pickled_failure(error)
    rebuilt = exception_of(payload)
    assert type(rebuilt) is KeyError
    assert rebuilt.args == ("missing",)
    assert isinstance(rebuilt.__cause__, RemoteTraceback)
    assert 'raise KeyError("missing")' in str(rebuilt.__cause__)


class NeedsTwo(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("not me")


class Exits(Exception):
    """Reading it back ends the process."""

    def __reduce__(self) -> Any:
        return _exit, ()


def _exit() -> Any:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NeedsTwo(1, 2), "NeedsTwo: 1 and 2"),
        (Unpicklable("x"), "Unpicklable: x"),
        (Exits("y"), "Exits: y"),
        (SystemExit(3), "3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit("z"), "GeneratorExit: z"),
    ],
)
def test_what_cannot_be_rebuilt_or_is_no_exception_becomes_one_of_ours(error, text):
    rebuilt = exception_of(pickled_failure(error))
    assert type(rebuilt) is EntryScriptError
    assert text in str(rebuilt)


def test_an_exception_of_many_bytes_comes_back_as_its_description():
    error = ValueError("x", bytes(20 << 20))
    payload = pickled_failure(error)
    assert len(payload) < 1 << 17
    assert type(exception_of(payload)) is EntryScriptError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "expected a positive integer, workers=0"),
        ({"workers": 1.5}, "expected a positive integer, workers=1.5"),
        ({"attempts": 0}, "expected a positive integer, attempts=0"),
        ({"timeout_s": 0}, "expected a positive time, timeout_s=0"),
        ({"timeout_s": float("nan")}, "expected a positive time, timeout_s=nan"),
        ({"function": 7}, "expected a function, got int"),
        ({"init": "load"}, "expected a function, got str"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        call_setup(**{"workers": 1, **options})


def test_a_function_that_cannot_be_pickled_is_refused_with_a_hint():
    lock = threading.Lock()
    with pytest.raises(UsageError, match=r"^the function cannot be sent to the workers: TypeError: cannot pickle") as e:
        call_spec(1, lambda batch: [lock, batch], None)
    assert e.value.hint == "open files, locks, connections and models are made in init(), in each worker"


def test_functions_that_can_be_imported_go_by_name():
    spec, pickled = call_spec(2, json.loads, os.getpid)
    assert (spec.function, spec.init, pickled) == ("json:loads", "posix:getpid", None)
