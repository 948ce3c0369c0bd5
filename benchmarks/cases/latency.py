"""*latency*: one mini-batch at a time, there and back, with nothing else to do meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

from benchmarks.cases.common import Outcome
from benchmarks.entry import noop
from benchmarks.options import Options
from benchmarks.values import Metric, Scenario, Task, Variant

LABEL = "latency"
EXPLANATION = (
    "A list of ten path strings goes to a worker that is up, ten short strings come back, then the next: the median "
    "round trip of one process. `batchflow` is `batchflow.Pool.submit(…).result()`; `map_batches` is "
    "`batchflow.Pool.map_batches` with one mini-batch; a parallel step has no round trip of one: it fills its workers. "
    "`rings` is the core alone, `Channel` and `Port` between two processes that only pickle, with nobody to look after "
    "a death. Both sides look at their rings for up to 50 µs before they sleep, where a processor is to spare. What "
    "remains is Python's: to pickle and unpickle list and results and to call the function takes about 2 µs of every "
    "row; a `Future`, which threads may share, cancel and watch, and a function and arguments that are pickled by the "
    "call take 5 µs more on the way through the executor, so that one cannot come to a fifth of a Pipe's 17 µs "
    "(note 9)."
)
WAYS = (
    "batchflow",
    "batchflow, map_batches",
    "rings",
    "multiprocessing.Pipe",
    "Pool.apply",
    "executor.submit().result()",
)
WARM_UP = 50
SPIN_NS = 50_000

Call = Callable[[list[str]], list[str]]


def setup(options: Options) -> list[Scenario]:
    calls = 500 if options.quick else 5_000
    return [
        Scenario(
            case=LABEL,
            title="one mini-batch at a time",
            explanation=EXPLANATION,
            metrics=(Metric("latency", "round trip", "µs", 1, 1e6), Metric("p99", "99th percentile", "µs", 1, 1e6)),
            workers=1,
            shows_costs=False,
            variants=tuple(
                Variant(way.partition(", ")[0], label=way.partition(", ")[2], settings={"way": way}) for way in WAYS
            ),
            settings={"calls": calls},
        )
    ]


def run(task: Task) -> Outcome:
    calls = task.settings["calls"]
    mini_batch = [f"/data/folder/{number:08}.dat" for number in range(10)]
    expected = noop.run(mini_batch)
    wrong = 0
    times = []
    with KINDS[task.settings["way"]]() as call:
        for _ in range(WARM_UP):
            call(mini_batch)
        for _ in range(calls):
            since_s = time.perf_counter()
            result = call(mini_batch)
            times.append(time.perf_counter() - since_s)
            wrong += result != expected
    seconds = {"latency": statistics.median(times), "p99": statistics.quantiles(times, n=100)[-1]}
    return Outcome(seconds, complaint=f"{wrong} wrong results" if wrong else "")


@contextmanager
def batchflow_submit() -> Iterator[Call]:
    import batchflow

    with batchflow.Pool(1) as pool:
        yield lambda mini_batch: pool.submit(noop.run, mini_batch).result()


@contextmanager
def batchflow_map_batches() -> Iterator[Call]:
    import batchflow

    with batchflow.Pool(1) as pool:
        yield lambda mini_batch: list(pool.map_batches(noop.run, mini_batch, mini_batch_size=10))


@contextmanager
def pipe() -> Iterator[Call]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=serve_pipe, args=(theirs,))
    child.start()
    theirs.close()

    def call(mini_batch: list[str]) -> list[str]:
        ours.send(mini_batch)
        result: list[str] = ours.recv()
        return result

    yield call
    ours.send(None)
    child.join()


def serve_pipe(connection: Connection) -> None:
    while (mini_batch := connection.recv()) is not None:
        connection.send(noop.run(mini_batch))


@contextmanager
def pool_apply() -> Iterator[Call]:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        yield lambda mini_batch: pool.apply(noop.run, (mini_batch,))


@contextmanager
def executor_submit() -> Iterator[Call]:
    with ProcessPoolExecutor(1) as executor:
        yield lambda mini_batch: executor.submit(noop.run, mini_batch).result()


@contextmanager
def rings() -> Iterator[Call]:
    """The core without anything around it; the driver sleeps on the worker's event as the product does."""
    import pickle
    import select

    from batchflow._core import Channel, Port

    channel = Channel()
    channel.set_spin(SPIN_NS)
    event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            port = Port(channel.fd, event_fd, channel.generation)
            while (taken := port.take_call()) is not None:
                index, attempt, payload = taken
                result = noop.run(pickle.loads(payload))  # noqa: S301 - from its own parent
                port.publish_result(index, attempt, len(result), b"", pickle.dumps(result, 5))
        finally:
            os._exit(0)
    index = 0
    payloads: dict[int, bytes] = {}
    values: dict[int, bytes] = {}

    def call(mini_batch: list[str]) -> list[str]:
        nonlocal index
        index += 1
        payloads[index] = pickle.dumps(mini_batch, 5)
        channel.call(index, 1, payloads[index])
        while not channel.look(SPIN_NS):
            if channel.go_to_sleep():
                select.select([event_fd], [], [], 1.0)
            channel.get_up()
            with suppress(BlockingIOError):
                os.eventfd_read(event_fd)
            if not channel.is_drained:
                break
        channel.drain_calls(payloads, {}, values, [])
        result: list[str] = pickle.loads(values.pop(index))  # noqa: S301 - from its own child
        return result

    yield call
    channel.stop()
    os.waitpid(child, 0)
    os.close(event_fd)


KINDS = {
    "batchflow": batchflow_submit,
    "batchflow, map_batches": batchflow_map_batches,
    "rings": rings,
    "multiprocessing.Pipe": pipe,
    "Pool.apply": pool_apply,
    "executor.submit().result()": executor_submit,
}
