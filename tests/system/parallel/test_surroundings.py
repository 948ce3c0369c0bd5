"""Where the script finds itself: arguments, folder, streams, environment, context, descriptors, odd file names."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from system.parallel.steps import ALL, MARK, Outcome, Steps, numbered, script
from system.runner.processes import wait_until

from batchflow.errors import DatasetError
from batchflow.pool import logs


def facts(steps: Steps, expression: str, **settings: Any) -> list[Any]:
    """What ``expression`` is worth in ``run()``, for each of three mini-batches."""
    source = script(f"return [{expression}]")
    outcome = steps.run(source, output_format="jsonl", mini_batch_size=1, files=3, oracle=False, **settings)
    outcome.done()
    return [json.loads(line) for line in outcome.rows]


def test_arguments_are_as_declared(steps: Steps) -> None:
    arguments = ("--model", "a b.bin", "--empty", "", "${x}", "é")
    expected = [f"{steps.folder}/score.py", *arguments]
    assert facts(steps, "sys.argv", arguments=arguments) == [expected] * 3
    assert facts(steps, "context.arguments", arguments=arguments) == [list(arguments)] * 3


def test_the_script_is_a_real_file_and_its_folder_comes_first(steps: Steps) -> None:
    assert facts(steps, "[__file__, sys.path[0]]") == [[f"{steps.folder}/score.py", str(steps.folder)]] * 3


@pytest.mark.fault("C18")
@pytest.mark.parametrize("leave", ["os.chdir('/')", "__import__('ctypes').CDLL(None).chdir(b'/')"])
def test_the_working_directory_is_the_workflows_for_every_mini_batch(steps: Steps, leave: str) -> None:
    assert facts(steps, f"[os.getcwd(), {leave}][0]") == [str(steps.folder)] * 3


@pytest.mark.fault("C29")
def test_standard_input_is_empty(steps: Steps) -> None:
    assert facts(steps, "[sys.stdin.read(), os.readlink('/proc/self/fd/0')]") == [["", "/dev/null"]] * 3


def test_environment_variables_are_the_steps_and_never_the_drivers(steps: Steps) -> None:
    name = "BATCHFLOW_TEST_COLOUR"
    before = f"COLOUR = os.environ['{name}']\n"
    outcome = steps.run(
        script(f"assert COLOUR == os.environ['{name}'] == 'blue green'", before=before),
        environment_variables={name: "blue green"},
    )
    assert outcome.rows == numbered((0, 15))
    assert name not in os.environ
    assert MARK not in os.environ


def test_each_worker_knows_its_number(steps: Steps) -> None:
    assert set(facts(steps, "os.environ['BATCHFLOW_WORKER']", workers=1)) == {"0"}
    body = """
(FOLDER / f"worker-{os.environ['BATCHFLOW_WORKER']}").touch()
while len(list(FOLDER.glob("worker-*"))) < 3:
    time.sleep(0.005)
"""
    steps.run(script(body, before="FOLDER = Path(__file__).parent\n"), workers=3)
    assert sorted(path.name for path in steps.folder.glob("worker-*")) == ["worker-0", "worker-1", "worker-2"]


@pytest.mark.fault("M13")
@pytest.mark.parametrize(
    ("workers", "cores", "variables", "caps"),
    [
        (1, 6, {}, ["6", "6", "6"]),
        (3, 6, {}, ["2", "2", "2"]),
        (3, 2, {}, ["1", "1", "1"]),
        (1, 6, {"OMP_NUM_THREADS": "4"}, ["4", "6", "6"]),
    ],
)
def test_threads_are_capped_at_cores_by_workers(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, workers: int, cores: int, variables: dict[str, str], caps: list[str]
) -> None:
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    expression = f"[os.environ[one] for one in {names}]"
    assert facts(steps, expression, workers=workers, cores=cores, environment_variables=variables) == [caps] * 3


def test_a_library_loaded_before_the_fork_may_use_its_threads_after_it(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    source = script(
        "import threadpoolctl\nreturn [max(one['num_threads'] for one in threadpoolctl.threadpool_info())]",
        before="import numpy\n",
    )
    outcome = steps.run(source, files=1, workers=1, cores=2, oracle=False)
    assert (outcome.rows, outcome.notices) == (["2"], [])


def test_a_gpu_for_each_worker(steps: Steps) -> None:
    variables = {"CUDA_VISIBLE_DEVICES": "4,5"}
    assert (
        facts(
            steps, "os.environ['CUDA_VISIBLE_DEVICES']", workers=1, gpus_per_worker=1, environment_variables=variables
        )
        == ["4"] * 3
    )


@pytest.mark.fault("C30")
def test_the_context_describes_its_mini_batch(steps: Steps) -> None:
    body = """
if context.attempt == 1 and context.mini_batch_index == 1:
    raise ValueError("once")
return [{
    "index": [context.mini_batch_index, context.minibatch_index],
    "attempt": [context.attempt, context.retry_count],
    "item_count": context.item_count,
    "dataset": context.dataset,
    "step": context.step,
    "run_id": context.run_id,
    "partition": context.partition_key_value,
    "output_dir": context.output_dir,
    "scratch": [context.scratch_dir.is_dir(), str(context.scratch_dir)],
    "logger": context.logger.name,
}] * len(mini_batch)
"""
    outcome = steps.run(script(body), files=7, output_format="jsonl", oracle=False)
    rows = [json.loads(line) for line in outcome.rows]
    for index, count in ((0, 5), (1, 2)):
        row = rows[index * 5]
        assert row["scratch"][0]
        assert row.pop("scratch")[1].startswith(f"{steps.folder}/state/scratch/worker-")
        assert row == {
            "index": [index, index],
            "attempt": [1 + index, index],
            "item_count": count,
            "dataset": ["files", [[index * 5, index * 5 + count]]],
            "step": "score",
            "run_id": "run-1",
            "partition": {},
            "output_dir": None,
            "logger": "batchflow.score",
        }


def test_run_may_have_one_parameter_of_any_name(steps: Steps) -> None:
    source = "import os\n\ndef run(whatever):\n    return [os.path.basename(one) for one in whatever]\n"
    assert steps.run(source).rows == numbered((0, 15))


@pytest.mark.fault("C15")
def test_whatever_is_printed_lies_in_the_log_and_never_among_the_rows(steps: Steps) -> None:
    before = """
import logging, subprocess
print("imported")


def init():
    print("init")


def shutdown():
    print("shutdown", end="")
"""
    body = """
print("python")
print("x" * 5_000_000)
sys.stderr.write("to stderr\\n")
os.write(1, b"to the descriptor\\n")
ctypes.CDLL(None).puts(b"from C")
subprocess.run(["echo", "from a child"])
logging.getLogger("score").info("logged")
context.logger.info("by the context")
sys.stdout.buffer.write(b"\\xff raw\\n")
"""
    outcome = steps.run(script(body, before=before), workers=1, files=5)
    assert outcome.rows == numbered((0, 5))
    content = (steps.folder / "state/logs/worker-0.log").read_bytes()
    lines = content.split(b"\n")
    expected = [b"init", b"python", b"x" * 5_000_000, b"to stderr", b"to the descriptor", b"from C", b"from a child"]
    assert lines[:7] == expected
    assert lines[7].endswith(b" INFO score: logged")
    assert lines[8].endswith(b" INFO batchflow.score: by the context")
    assert sorted(lines[9:]) == [b"shutdown", b"\xff raw"]
    assert outcome.log("import") == "imported\n"


@pytest.mark.fault("C15")
def test_a_worker_that_prints_without_end_keeps_the_beginning_and_the_end_of_it(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it prints, the middle is given back to the disk."""
    monkeypatch.setattr(logs, "HEAD_SIZE", 1 << 20)
    monkeypatch.setattr(logs, "END_SIZE", 1 << 20)
    monkeypatch.setattr(logs, "STEP_SIZE", 1 << 20)
    disk_sizes: list[int] = []

    def look() -> None:
        wait_until((steps.folder / "printed").exists)
        path = steps.folder / "state/logs/worker-0.log"
        wait_until(lambda: path.stat().st_blocks * 512 < 4 << 20)
        disk_sizes.append(path.stat().st_size)
        (steps.folder / "go").touch()

    body = """
for number in range(300):
    print(f"{context.mini_batch_index}-{number:03}-" + "x" * 99_993)
(FOLDER / "printed").touch()
wait_for(FOLDER / "go")
print("and the last of it")
"""
    before = "FOLDER = Path(__file__).parent\n"
    outcome = steps.run(script(body, before=before), workers=1, files=5, meanwhile=look)
    assert outcome.rows == numbered((0, 5))
    assert disk_sizes == [30_000_000]
    content = (steps.folder / "state/logs/worker-0.log").read_bytes()
    last = b"and the last of it\n"
    dropped = 30_000_000 + len(last) - (2 << 20)
    assert content.startswith(b"0-000-xxx")
    assert content[1 << 20 :].startswith(b"\n[%d bytes dropped]\n" % dropped)
    assert content.endswith(last)
    assert b"\n0-299-xxx" in content
    assert len(content) == (2 << 20) + len(b"\n[%d bytes dropped]\n" % dropped)


def test_the_logging_level_is_the_steps(steps: Steps) -> None:
    source = script("import logging\nlogging.info('quiet')\nlogging.warning('loud')")
    outcome = steps.run(source, workers=1, files=5, logging_level="WARNING")
    assert "loud" in outcome.log()
    assert "quiet" not in outcome.log()


def test_a_command_of_the_script_inherits_no_descriptor_of_ours(steps: Steps) -> None:
    expression = (
        "subprocess.run(['ls', '/proc/self/fd'], close_fds=False, capture_output=True, text=True).stdout.split()"
    )
    body = f"import subprocess\nreturn [{expression}]"
    outcome = steps.run(script(body), files=1, output_format="jsonl", oracle=False)
    # 3 is the folder that ls looks at.
    assert outcome.rows == ['["0", "1", "2", "3"]']


@pytest.mark.fault("H4", "H5")
def test_files_of_any_name_arrive_as_they_are(steps: Steps) -> None:
    names = [b"plain", b"caf\xe9", b"new\nline", b"tab\t", b"quote\"'", "日本".encode(), b" ", b"-rf", b"a\\nb", b"%s"]
    source = script("return [[os.path.exists(path), os.fsencode(name(path)).hex()] for path in mini_batch]")
    outcome = steps.run(source, files=names, output_format="jsonl", oracle=False)
    rows = [json.loads(line) for line in outcome.rows]
    assert rows == [[True, one.hex()] for one in sorted(names)]


@pytest.mark.fault("H4", "H5")
def test_failed_files_of_any_name_are_listed_as_they_are(steps: Steps) -> None:
    names = [b"good", b"caf\xe9", b"new\nline"]
    source = script("if names != ['good']: raise ValueError(names[0])")
    outcome = steps.run(source, files=names, mini_batch_size=1, error_threshold=ALL, run_max_try=1, oracle=False)
    assert outcome.rows == ["good"]
    assert sorted(os.fsencode(one) for one in outcome.failed_names) == [b"caf\xe9", b"new\nline"]
    aborted = steps.run(source, files=names, mini_batch_size=1, run_max_try=1, oracle=False)
    assert aborted.error is not None
    aborted.error.message.encode("utf-8", "surrogateescape")


@pytest.mark.fault("D8")
def test_the_script_itself_may_have_an_odd_name(steps: Steps) -> None:
    steps.folder.mkdir()
    outcome = steps.run(script(""), entry_script=steps.folder / "json.py")
    assert outcome.rows == numbered((0, 15))


@pytest.mark.fault("H1")
def test_nothing_to_do_is_an_error_that_leaves_nothing(steps: Steps) -> None:
    outcome: Outcome = steps.run(script(""), files=0)
    assert type(outcome.error) is DatasetError
