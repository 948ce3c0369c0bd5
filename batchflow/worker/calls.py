"""The worker's side of ``map`` and ``Pool``: calls that come pickled, results that go back pickled.

They were pickled by this process's own caller, in memory that only the two share.
Invariant: every call taken is answered, by a result or a failure, unless the process dies.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any

from batchflow._core import Port
from batchflow.errors import ContractError
from batchflow.worker import travel
from batchflow.worker.failures import describe_failure
from batchflow.worker.user_code import UserCode

EXCEPTION_SIZE_MAX = 16 << 20
"""Bytes of a pickled exception; of a larger one only the description goes back."""
FUNCTIONS_MAX = 64
FUNCTION_SIZE_MAX = 1 << 20
"""How many functions, and how large ones, are kept for further calls."""


def serve_calls(code: UserCode, port: Port, max_result_size: int) -> None:
    """Answer calls until told to stop."""
    # Private names: nothing that the user's code does to modules or builtins reaches the loop.
    take, publish_result, publish_failure = port.take_call, port.publish_result, port.publish_failure
    perform = _Calls(code).perform if code.function is None else _mini_batches(code)
    failure_of, contract_error = pickled_failure, ContractError
    while (request := take()) is not None:
        index, attempt, payload = request
        try:
            result = perform(payload)
            if len(result) > max_result_size:
                raise contract_error(f"the result has {len(result)} bytes, at most {max_result_size} can be sent back")
        except BaseException as error:
            publish_failure(index, attempt, failure_of(error))
        else:
            publish_result(index, attempt, 1, b"", result)


def _mini_batches(code: UserCode) -> Callable[[bytes], bytes]:
    """What ``map`` does with a pickled mini-batch."""
    function: Any = code.function
    code.share_globals(function)
    loads, dump_results, results_of = pickle.loads, travel.dump_results, travel.results_of

    def perform(payload: bytes) -> bytes:
        mini_batch = loads(payload)
        item_count = len(mini_batch)  # before the function can change it
        return dump_results(results_of(function(mini_batch), item_count))

    return perform


class _Calls:
    """What ``Pool`` does with a call that brings its function along."""

    def __init__(self, code: UserCode) -> None:
        self._code = code
        self._functions: dict[bytes, Callable[..., Any]] = {}

    def perform(self, payload: bytes) -> bytes:
        pickled_function, pickled_arguments = travel.split_call(payload)
        function = self._functions.get(pickled_function) or self._load(pickled_function)
        arguments, keywords = pickle.loads(pickled_arguments)
        return travel.dump_results(function(*arguments, **keywords))

    def _load(self, pickled: bytes) -> Callable[..., Any]:
        """Unpickle a function; only a plain one is kept, since an object may change with every call."""
        function: Any = pickle.loads(pickled)
        self._code.share_globals(function)
        plain = function.function if isinstance(function, (travel.Batch, travel.Chunk)) else function
        if isinstance(plain, (FunctionType, BuiltinFunctionType, type)) and len(pickled) <= FUNCTION_SIZE_MAX:
            if len(self._functions) == FUNCTIONS_MAX:
                del self._functions[next(iter(self._functions))]
            self._functions[pickled] = function
        return function  # type: ignore[no-any-return]


def pickled_failure(error: BaseException) -> bytes:
    """The failure's description and, where it can be pickled and read back, the exception itself.

    What is no ``Exception`` stays here: a ``sys.exit()`` in a worker is not one in its caller.
    """
    exception: bytes | None = None
    if isinstance(error, Exception):
        try:
            exception = travel.dumps(error)
            if len(exception) > EXCEPTION_SIZE_MAX or not isinstance(pickle.loads(exception), Exception):
                exception = None
        except BaseException:
            exception = None
    return pickle.dumps((describe_failure(error), exception), travel.PROTOCOL)
