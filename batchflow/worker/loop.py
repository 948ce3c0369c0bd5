"""A worker: ``init()`` once, then take, decode, ``run(mini_batch)``, encode, publish, until told to stop.

Whatever the user's code raises, down to ``SystemExit``, is an outcome of the attempt and not of the worker.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, ParamSpec, TypeAlias, TypeVar

from batchflow import _core
from batchflow.errors import ContractError
from batchflow.mini_batches import Grid
from batchflow.worker import capture, variables
from batchflow.worker.calls import serve_calls
from batchflow.worker.failures import describe_failure
from batchflow.worker.home import Home
from batchflow.worker.inputs import Read, WorkerInputs
from batchflow.worker.spec import STACK_SIGNAL, WorkerSpec
from batchflow.worker.user_code import UserCode, load_user_code

if TYPE_CHECKING:
    from batchflow.worker.context import MiniBatchContext

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")
Lap: TypeAlias = Literal["wait", "decode", "run", "encode", "publish"]


def work(
    spec: WorkerSpec,
    code: UserCode | None,
    pickled: bytes,
    inputs: WorkerInputs,
    port: _core.Port,
    worker: int,
) -> None:
    """All of a worker's life after the fork; returns when it was told to stop."""
    if spec.profile:
        port.begin_lap("init")
    _prepare(spec, worker)
    port.set_state("init")
    try:
        if code is None:
            code = load_user_code(spec, pickled)
            code.init_shared()
        if spec.kind == "script":
            capture.configure_logging(spec.logging_level)
        read = inputs.reader(spec.frame) if spec.kind == "script" else None
        code.init()
    except BaseException as error:
        port.publish_init_failed(_describe(error))
        _leave(1)
    port.set_state("idle")
    port.publish_ready()
    if read is not None:
        home = Home()
        port.keep_home(home.folder)
        _serve_mini_batches(spec, code, inputs, read, port, worker, home)
    else:
        serve_calls(code, port, spec.max_result_size)
    port.set_state("shutdown")
    code.shutdown()
    _leave(0)


def _prepare(spec: WorkerSpec, worker: int) -> None:
    with contextlib.suppress(OSError, ValueError):  # not allowed everywhere; only a preference
        _die_first()
    faulthandler.register(STACK_SIGNAL, all_threads=True, chain=False)
    caps = variables.thread_caps(spec.cores, spec.worker_count, spec.thread_environment)
    os.environ.update(caps)
    os.environ["BATCHFLOW_WORKER"] = str(worker)
    os.environ.update(gpu_environment(worker, spec.gpus_per_worker, os.environ.get("CUDA_VISIBLE_DEVICES")))
    if caps["OMP_NUM_THREADS"].isdigit():
        capture.raise_thread_caps(int(caps["OMP_NUM_THREADS"]))


def _die_first() -> None:
    """When memory runs out, a worker shall die before the driver, and before processes that were favoured like it."""
    path = Path("/proc/self/oom_score_adj")
    path.write_text(str(min(1000, int(path.read_text()) + 500)))


def gpu_environment(worker: int, gpus_per_worker: int, visible: str | None) -> dict[str, str]:
    """Which GPUs a worker sees: its own share of the visible ones, in turn; empty when the step asks for none."""
    if not gpus_per_worker:
        return {}
    if visible is None:
        try:
            count = sum(1 for _ in Path("/proc/driver/nvidia/gpus").iterdir())
        except OSError:
            count = 0
        devices = [str(device) for device in range(count)]
    else:
        devices = [device.strip() for device in visible.split(",") if device.strip()]
    if not devices:
        return {}
    first = worker * gpus_per_worker
    share = dict.fromkeys(devices[(first + k) % len(devices)] for k in range(gpus_per_worker))
    return {"CUDA_VISIBLE_DEVICES": ",".join(share)}  # none twice: CUDA takes that for an error


_as_json = json.JSONEncoder().encode  # the script may replace json.dumps


def _describe(error: BaseException) -> bytes:
    return _as_json(describe_failure(error)).encode()


def _leave(status: int) -> NoReturn:
    """End without the exit handlers inherited from the zygote; nothing that was printed is lost."""
    capture.flush_output()
    os._exit(status)


def _serve_mini_batches(
    spec: WorkerSpec, code: UserCode, inputs: WorkerInputs, read: Read, port: _core.Port, worker: int, home: Home
) -> None:
    from batchflow.worker.results import make_encoder

    script = code.script
    if script is None or inputs.grid is None:
        raise RuntimeError("a worker was started without an entry script or an input")
    encode = make_encoder(
        output_format=spec.output_format,
        delimiter=spec.delimiter,
        newline=spec.newline,
        items=spec.items,
    ).encode
    # Private names: nothing that the user's code does to modules or builtins reaches the loop.
    take, publish_result, publish_failure = port.take, port.publish_result, port.publish_failure
    pack, publish_packed = _packer(spec, port), port.publish_packed
    run, describe = script.run, _describe
    if spec.profile:  # the laps are as long as the calls that begin them, and what follows until the next
        take, read = _in(port, "wait", take), _in(port, "decode", read)
        run, encode = _in(port, "run", run), _in(port, "encode", encode)
        publish_result, publish_failure = _in(port, "publish", publish_result), _in(port, "publish", publish_failure)
    limit, contract_error, changes = spec.max_result_size, ContractError, home.changes
    make_context = _context_maker(spec, inputs, inputs.grid, worker) if script.wants_context else None
    try:
        while (request := take()) is not None:
            index, attempt, start, count = request
            try:
                if make_context is None:
                    result = run(read(start, start + count))
                else:
                    result = run(read(start, start + count), make_context(attempt, start, count))
                is_packed = pack(result)
                if not is_packed:
                    returned, columns, rows = encode(result, count)
                    if len(columns) + len(rows) > limit:
                        raise contract_error(
                            f"the result has {len(columns) + len(rows)} bytes, max_result_size={limit}"
                        )
            except BaseException as error:
                home.go_back()
                publish_failure(index, attempt, describe(error))
            else:
                if changes:
                    home.go_back()
                if is_packed:
                    publish_packed(index, attempt)
                else:
                    publish_result(index, attempt, returned, columns, rows)
    except OSError:
        # What announces an answer may be a file of the script's by now.
        capture.flush_output()
        os.write(2, b"the script closed a file descriptor of batchflow's, so this worker ends\n")
        os._exit(70)


def _packer(spec: WorkerSpec, port: _core.Port) -> Callable[[object], bool]:
    """What has lines of text ready for ``publish_packed`` where that gives the bytes that the encoder would."""
    is_plain = spec.output_format == "text" and spec.items != "exact" and spec.max_result_size >= _core.PACKED_SIZE_MAX
    return port.pack_lines if is_plain and not spec.profile else lambda result: False


def _in(port: _core.Port, lap: Lap, function: Callable[Parameters, Value]) -> Callable[Parameters, Value]:
    """``function``, whose call begins a lap of the worker's time."""
    begin_lap = port.begin_lap

    def timed(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Value:
        begin_lap(lap)
        return function(*arguments, **keywords)

    return timed


def _context_maker(
    spec: WorkerSpec, inputs: WorkerInputs, grid: Grid, worker: int
) -> Callable[[int, int, int], MiniBatchContext]:
    from batchflow.worker.context import MiniBatchContext, StepContext

    step = StepContext(
        step=spec.step,
        run_id=spec.run_id,
        arguments=spec.arguments,
        locate=inputs.locate,
        keys=inputs.keys,
        scratch_path=Path(spec.scratch_folder) / f"worker-{worker}-{os.getpid()}",
        output_dir=None if spec.output_folder is None else Path(spec.output_folder),
    )

    number_of = grid.number

    def make(attempt: int, start: int, count: int) -> MiniBatchContext:
        return MiniBatchContext(step, number_of(start, count), attempt, start, start + count)

    return make
