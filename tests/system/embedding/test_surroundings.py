"""``batchflow.run``, ``map`` and ``Pool`` wherever Python runs, used twice with functions of ``__main__``.

The results are right, and afterwards the process is as it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from system.runner.processes import descendants

TIMEOUT_S = 180

WORKFLOW = """\
schema = 1
name = "embedded"
default = ["score"]

[params]
factor = 3

[datasets.numbers]
files = "in/*.txt"

[steps.score]
inputs = { numbers = "${datasets.numbers}" }
outputs = { rows = "build/rows.txt" }

[steps.score.parallel]
entry_script = "score.py"
over = "numbers"
mini_batch_size = 2
arguments = ["${params.factor}"]
append_row_to = "rows"
"""

SCORE = """\
import sys
from pathlib import Path

def init():
    global factor
    factor = int(sys.argv[1])

def run(mini_batch):
    return [int(Path(path).read_text()) * factor for path in mini_batch]
"""

USE = '''\
import json
import sys
from dataclasses import dataclass

sys.path.insert(0, HERE)
import surroundings

OFFSET = 1000
model = None


@dataclass
class Scored:
    number: int
    score: int


class Wrong(Exception):
    pass


def load():
    global model
    model = 7


def score(batch):
    if -1 in batch:
        raise Wrong("a negative number")
    return [Scored(number, OFFSET + number + (model or 0)) for number in batch]


def numbers_of(batch):
    return [one.number for one in batch]


def score_one(number):
    return score([number])[0]


def use_once(folder, again):
    import batchflow

    results = list(batchflow.map(score, range(25), init=load, mini_batch_size=4, workers=2))
    assert results == [Scored(number, 1007 + number) for number in range(25)], results
    assert list(batchflow.map(numbers_of, results, workers=1)) == list(range(25))
    try:
        list(batchflow.map(score, [-1], workers=1))
    except Wrong as error:
        assert str(error) == "a negative number"
    else:
        raise AssertionError("no error")
    with batchflow.Pool(2, init=load) as pool:
        assert list(pool.map(score_one, range(9))) == results[:9]
        assert pool.submit(lambda: OFFSET).result(60) == 1000
    events = []
    record = batchflow.run(
        folder + "/workflow.toml", params={"factor": 5}, cores=2, force=again, on_event=events.append
    )
    assert record.exit_code == 0 and record.receipt("score").succeeded == 6
    assert record.steps["score"].status == "done" and type(events[-1]).__name__ == "RunFinished"
    with open(record.steps["score"].outputs["rows"]) as file:
        assert file.read() == "".join(f"{5 * k}\\n" for k in range(6))


def use(folder):
    """What has changed in this process after all was done twice."""
    before = surroundings.take()
    use_once(folder, again=False)
    use_once(folder, again=True)
    return surroundings.differences(before, surroundings.take(before))
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(6):
        (tmp_path / f"in/{number}.txt").write_text(str(number))
    (tmp_path / "workflow.toml").write_text(WORKFLOW)
    (tmp_path / "score.py").write_text(SCORE)
    return tmp_path


def use() -> str:
    return USE.replace("HERE", repr(str(Path(__file__).parent)))


def check(ended: subprocess.CompletedProcess[str]) -> None:
    """The last line that was printed is a JSON list, of what changed in each place."""
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    changes = json.loads(ended.stdout.splitlines()[-1])
    assert changes == [[]] * len(changes)
    assert changes
    assert descendants(os.getpid()) == []


def start(arguments: list[str], folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        **options,
    )


def run_script(folder: Path, text: str) -> None:
    script = folder / "program.py"
    script.write_text(use() + text)
    check(start([str(script)], folder))


LEAKS = {
    "signal handlers": "signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
    "signal mask": "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})",
    "working directory": "os.chdir('/')",
    "environment": "os.environ['NEW'] = '1'",
    "sys.path": "sys.path.append('/new')",
    "logging": "logging.basicConfig()",
    "warnings": "warnings.simplefilter('ignore')",
    "threads of Python": "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "children": "subprocess.Popen(['sleep', '60'])",
    "descriptors": "os.pipe()",
    "shared memory": "fd = os.memfd_create('batchflow-rings'); os.write(fd, b'x'); kept = mmap.mmap(fd, 1)",
    "hooks": "sys.excepthook = print",
    "collector": "gc.disable()",
}


@pytest.mark.parametrize("what", LEAKS)
def test_the_look_at_a_process_sees_what_changed(what):
    leak = LEAKS[what]
    code = (
        "import gc, json, logging, mmap, os, signal, subprocess, sys, threading, time, warnings\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"import surroundings\nbefore = surroundings.take()\n{leak}\n"
        "print(json.dumps(surroundings.differences(before, surroundings.take())), flush=True)\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, start_new_session=True
    )
    assert any(line.startswith(f"{what}: ") for line in json.loads(ended.stdout))


def test_a_script(folder):
    run_script(folder, f"\nprint(json.dumps([use({str(folder)!r})]))\n")


def test_a_script_with_a_relative_path_in_another_folder(folder):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/program.py").write_text(use() + '\nprint(json.dumps([use("..")]))\n')
    check(start(["program.py"], folder / "elsewhere"))


def test_code_from_standard_input(folder):
    check(start(["-"], folder, input=use() + "\nprint(json.dumps([use('.')]))\n"))


def test_code_from_the_command_line(folder):
    check(start(["-c", use() + "\nprint(json.dumps([use('.')]))\n"], folder))


def test_an_interactive_session(folder):
    """A blank line ends a block there, and only there."""
    lines = [line for line in use().splitlines() if line.strip()]
    typed = ["\n" + line if line.startswith(("def ", "class ", "@")) else line for line in lines]
    text = "\n".join(typed).replace("@dataclass\n\nclass", "@dataclass\nclass")
    ended = start(["-i", "-q"], folder, input=text + "\n\nprint(json.dumps([use('.')]))\n")
    assert "Error" not in ended.stderr, ended.stderr
    check(ended)


def test_threads_of_an_http_server(folder):
    run_script(
        folder,
        f"""
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

changes = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        use_once({str(folder)!r}, again=True)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"scored")

    def log_message(self, *arguments):
        pass


def ask(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", "/")
    answer = connection.getresponse().read()
    connection.close()
    return answer


before = surroundings.take()
with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert ask(server.server_port) == b"scored"
    assert ask(server.server_port) == b"scored"
    server.shutdown()
    thread.join()
changes.append(surroundings.differences(before, surroundings.take(before)))
print(json.dumps(changes))
""",
    )


def test_many_threads_at_once(folder):
    run_script(
        folder,
        """
import threading
import batchflow

failures = []


def work(base):
    try:
        for _ in range(2):
            numbers = range(base, base + 40)
            assert [one.number for one in batchflow.map(score, numbers, workers=1)] == list(numbers)
    except BaseException as error:
        failures.append(repr(error))


before = surroundings.take()
threads = [threading.Thread(target=work, args=(1000 * k,)) for k in range(5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures
print(json.dumps([surroundings.differences(before, surroundings.take(before))]))
""",
    )


@pytest.mark.parametrize("daemon", [False, True], ids=["", "daemon"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_of_multiprocessing(folder, method, daemon):
    """Of a process that holds a pool itself."""
    run_script(
        folder,
        f"""
import multiprocessing


def child(connection):
    connection.send(use({str(folder)!r}))


if __name__ == "__main__":
    import batchflow

    before = surroundings.take()
    context = multiprocessing.get_context({method!r})
    with batchflow.Pool(1) as pool:
        assert pool.submit(score_one, 1).result(60).score == 1001
        ours, theirs = context.Pipe()
        process = context.Process(target=child, args=(theirs,), daemon={daemon})
        process.start()
        theirs.close()
        changes = ours.recv()
        process.join(60)
        assert process.exitcode == 0
        assert pool.submit(score_one, 2).result(60).score == 1002
    print(json.dumps([changes]))
""",
    )


NOTEBOOK = """
import sys
import nbclient
import nbformat

cells = [nbformat.v4.new_code_cell(cell) for cell in sys.stdin.read().split("# next cell\\n")]
notebook = nbformat.v4.new_notebook(cells=cells)
nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
(output,) = notebook.cells[-1].outputs
print(output["text"].strip())
"""


def test_a_notebook(folder):
    for name in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    cells = use().replace("def use(folder)", "# next cell\ndef use(folder)")
    cells += f"# next cell\nprint(json.dumps([use({str(folder)!r})]))"
    ended = subprocess.run(
        [sys.executable, "-c", NOTEBOOK], input=cells, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    check(ended)


def test_a_process_with_threads_of_arrow_and_tensorflow(folder):
    pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    run_script(
        folder,
        """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pyarrow
    import pyarrow.compute
    import tensorflow

    pyarrow.set_cpu_count(4)
    table = pyarrow.table({"a": list(range(100_000)), "b": ["x"] * 100_000})
    assert table.group_by("b").aggregate([("a", "sum")])["a_sum"][0].as_py() == 4999950000
    matrix = tensorflow.ones((300, 300))
    assert float(tensorflow.reduce_sum(matrix @ matrix)) == 27_000_000.0
assert len(os.listdir("/proc/self/task")) > 4
changes = use(os.getcwd())
assert float(tensorflow.reduce_sum(matrix @ matrix)) == 27_000_000.0
print(json.dumps([changes]))
""",
    )
