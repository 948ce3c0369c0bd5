"""Rules about the source: layers, sizes, calls, docstrings, paths.  Each is a function of text, seen to fail below.

The layers are those of ``docs/architecture.md``; a room that is new belongs there and in ``LAYERS``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

LAYERS = {
    "errors": 0,
    "clock": 0,
    "cpus": 0,
    "control": 0,
    "redaction": 0,
    "private": 0,
    "failpoints": 0,
    "_core": 0,
    "model": 1,
    "mini_batches": 1,
    "isolation": 1,
    "text": 1,
    "temporary": 1,
    "patterns": 1,
    "path_keys": 1,
    "profiles": 1,
    "tables": 1,
    "worker": 2,
    "plan": 2,
    "workflow": 2,
    "data": 2,
    "pool": 3,
    "journal": 3,
    "output": 3,
    "parallel": 4,
    "runner": 5,
    "report": 6,
    "cli": 7,
    "__main__": 8,
}
FACE_LAYER = 6
"""``batchflow/__init__.py``, the Python face: above the runner, below the command line."""

SHELL = ("batchflow/runner/steps.py",)
SHELLS = {"sh", "bash", "/bin/sh", "/bin/bash"}
PICKLING = tuple(f"batchflow/parallel/{name}.py" for name in ("call_errors", "engine", "mapping"))
PICKLING += tuple(f"batchflow/worker/{name}.py" for name in ("calls", "travel", "user_code"))
FORKING = ("batchflow/worker/zygote.py", "batchflow/worker/guard.py")
"""Programs of one thread that were exec'd for the purpose."""
KILLING = (*FORKING, "batchflow/worker/lifeline.py", "batchflow/failpoints.py")
"""A process that kills itself, its own unreaped child, or the group of one; everything else uses a pidfd."""

PICKLES = {"pickle", "cloudpickle", "marshal", "shelve", "dill"}
# Assembled, so that this file does not break the rule itself.
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(?:" + "|".join(["work", "root", "home", "Users", "tmp/" + "bf"]) + r")/(?!me\b)[\w.]"
)


# The rules: each yields one line for each violation.


def upward_imports(path: str, text: str) -> Iterator[str]:
    """Imports of a room that is not strictly below this file's own, inside functions too."""
    room = room_of(path)
    for line, target in imported_rooms(path, ast.parse(text)):
        if target == room:
            continue
        if target not in LAYERS and target != "":
            yield f"{path}:{line}: batchflow.{target} has no layer"
        elif layer_of(target) >= layer_of(room):
            yield f"{path}:{line}: {room or 'batchflow'} (layer {layer_of(room)}) imports {target or 'batchflow'}"


def room_of(path: str) -> str:
    """``batchflow/pool/x.py`` → pool, ``batchflow/model.py`` → model, ``batchflow/__init__.py`` → empty."""
    name = path.removeprefix("batchflow/").split("/")[0].removesuffix(".py")
    return "" if name == "__init__" else name


def layer_of(room: str) -> int:
    return FACE_LAYER if room == "" else LAYERS[room]


def imported_rooms(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, room) of everything of ours that a module imports; the package itself is the empty room."""
    package = path.removesuffix(".py").removesuffix("/__init__").split("/")
    if not path.endswith("/__init__.py"):
        package.pop()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name != "batchflow"]
        elif isinstance(node, ast.Attribute):
            # The package itself is always imported already; what counts is what of its face is used.
            names = [] if node.attr.startswith("__") or ast.unparse(node.value) != "batchflow" else ["batchflow"]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{start}.{alias.name}" for alias in node.names if not alias.name.startswith("__")]
        elif isinstance(node, ast.Call) and called_name(node) in ("import_module", "__import__") and node.args:
            first = node.args[0]
            names = [first.value] if isinstance(first, ast.Constant) and isinstance(first.value, str) else []
        else:
            continue
        for name in names:
            if name.split(".")[0] == "batchflow":
                yield node.lineno, room_named(name)


def room_named(module: str) -> str:
    """``batchflow.pool.pool`` → pool; a name that is no room was taken from the face."""
    parts = module.split(".")
    if len(parts) == 1:
        return ""
    known = parts[1] in LAYERS or (ROOT / "batchflow" / parts[1]).is_dir() or len(parts) > 2
    return parts[1] if known or (ROOT / "batchflow" / f"{parts[1]}.py").is_file() else ""


def called_name(node: ast.Call) -> str:
    """The last part of what is called: ``os.fork()`` → fork."""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def banned_calls(path: str, text: str) -> Iterator[str]:
    """Printing, shells, pickles, forks and signals by pid outside the modules they belong to."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield from banned_call(path, node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                if module.split(".")[0] in PICKLES and not path.startswith(PICKLING):
                    yield f"{path}:{node.lineno}: {module} only where functions and results of map travel"
        elif isinstance(node, ast.Constant) and node.value in SHELLS and not path.startswith(SHELL):
            yield f"{path}:{node.lineno}: {node.value} only for the commands of run steps"


def banned_call(path: str, node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    if name in ("os.fork", "os.forkpty") and not path.startswith(FORKING):
        yield f"{path}:{node.lineno}: {name}() only in the zygote"
    if name in ("os.kill", "os.killpg") and not path.startswith(KILLING):
        yield f"{path}:{node.lineno}: {name}() only where the process cannot have been reaped"
    if name in ("os.system", "os.popen"):
        yield f"{path}:{node.lineno}: {name}()"
    for keyword in node.keywords:
        constant = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        if keyword.arg == "shell" and not constant and name.startswith("subprocess."):
            yield f"{path}:{node.lineno}: shell=, write the words as a list"


def impure_tests(path: str, text: str) -> Iterator[str]:
    """What starts processes or waits, in a test that must do neither."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep", "os.fork"):
            yield f"{path}:{node.lineno}: {ast.unparse(node.func)}() in a unit test"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                if module.split(".")[0] in ("subprocess", "multiprocessing"):
                    yield f"{path}:{node.lineno}: {module} in a unit test"


def missing_docstring(path: str, text: str) -> Iterator[str]:
    if ast.get_docstring(ast.parse(text)) is None:
        yield f"{path}:1: no docstring"


def long_modules(path: str, text: str) -> Iterator[str]:
    count = len(text.splitlines())
    if count > MODULE_LINES_MAX:
        yield f"{path}: {count} lines, at most {MODULE_LINES_MAX}"


def long_functions(path: str, text: str) -> Iterator[str]:
    """Of Python by its syntax tree, of Cython by indentation, of C by braces in the first column."""
    if path.endswith(".py"):
        spans = python_functions(text)
    elif path.endswith((".pyx", ".pxi")):
        spans = cython_functions(text)
    else:
        spans = c_functions(text)
    for line, count in spans:
        if count > FUNCTION_LINES_MAX:
            yield f"{path}:{line}: a function of {count} lines, at most {FUNCTION_LINES_MAX}"


def python_functions(text: str) -> Iterator[tuple[int, int]]:
    """(first line, number of lines) of each function."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
            yield node.lineno, node.end_lineno - node.lineno + 1


def cython_functions(text: str) -> Iterator[tuple[int, int]]:
    lines = text.splitlines()
    starts = re.compile(r"(\s*)(?:async\s+)?(?:def|cpdef|cdef)\b[^=]*\(")
    for number, line in enumerate(lines):
        match = starts.match(line)
        if match is None:
            continue
        indent, last, open_brackets = len(match[1]), number, 0
        for index in range(number, len(lines)):
            inside = open_brackets > 0 or index == number
            open_brackets += len(re.findall(r"[(\[]", lines[index])) - len(re.findall(r"[)\]]", lines[index]))
            if not lines[index].strip():
                continue
            if not inside and len(lines[index]) - len(lines[index].lstrip()) <= indent:
                break
            last = index
        yield number + 1, last - number + 1


def c_functions(text: str) -> Iterator[tuple[int, int]]:
    start = None
    for number, line in enumerate(text.splitlines(), 1):
        if start is None and line.endswith("{") and line[:1].strip() and not line.startswith(("#", "extern")):
            start = number
        elif line.startswith("}") and start is not None:
            yield start, number - start + 1
            start = None


def machine_paths(path: str, text: str) -> Iterator[str]:
    """Absolute paths that exist on one machine only."""
    for number, line in enumerate(text.splitlines(), 1):
        match = MACHINE_PATH.search(line)
        if match is not None:
            yield f"{path}:{number}: a path of one machine, {line[match.start() : match.start() + 30]!r}"


# The source.


def sources(*patterns: str) -> list[tuple[str, str]]:
    """(path below the root, text) of the files that match, generated ones left out."""
    paths = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    names = sorted((path.relative_to(ROOT).as_posix(), path) for path in paths)
    made = ("batchflow/_core.c", "workflows/build/", "workflows/.batchflow/", "benchmarks/results/")
    return [(name, path.read_text(encoding="utf-8")) for name, path in names if not name.startswith(made)]


PACKAGE = ("batchflow/**/*.py",)
PYTHON = (*PACKAGE, "benchmarks/**/*.py", "tests/**/*.py", "workflows/**/*.py", "setup.py")
CORE = ("batchflow/*.pyx", "batchflow/core/*")
TEXT = ("*.md", "*.toml", "Makefile", ".ci/run", "docs/**/*.md", "workflows/**/*.toml", "batchflow/*.pyi")


RULES = {
    upward_imports: PACKAGE,
    banned_calls: PACKAGE,
    impure_tests: ("tests/unit/**/*.py",),
    missing_docstring: (*PACKAGE, "benchmarks/**/*.py", "workflows/**/*.py", "setup.py"),
    long_modules: (*PYTHON, *CORE),
    long_functions: (*PYTHON, *CORE),
    machine_paths: (*PYTHON, *CORE, *TEXT),
}


@pytest.mark.fault("A18", "S39", "S47")
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(rule):
    files = sources(*RULES[rule])
    assert files
    violations = [violation for path, text in files for violation in rule(path, text)]
    if violations:
        pytest.fail("\n".join(violations), pytrace=False)


def test_every_room_has_a_layer():
    found = {room_of(path) for path, _ in sources("batchflow/*.py", "batchflow/*/*.py")} - {""}
    assert found <= LAYERS.keys()


# Each rule is seen to fail.


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("batchflow/pool/pool.py", "from batchflow.parallel import runner", "pool (layer 3) imports parallel"),
        ("batchflow/pool/pool.py", "import batchflow.cli.main", "pool (layer 3) imports cli"),
        ("batchflow/pool/pool.py", "from batchflow.journal import lock", "pool (layer 3) imports journal"),
        ("batchflow/plan.py", "def f():\n    from batchflow import runner", "plan (layer 2) imports runner"),
        ("batchflow/plan.py", "from batchflow import run", "plan (layer 2) imports batchflow"),
        ("batchflow/plan.py", "import batchflow\nbatchflow.run()", "plan (layer 2) imports batchflow"),
        ("batchflow/data/names.py", "from ..pool import pool", "data (layer 2) imports pool"),
        ("batchflow/data/names.py", "import importlib\nimportlib.import_module('batchflow.pool')", "imports pool"),
        ("batchflow/__init__.py", "from batchflow.cli import main", "batchflow (layer 6) imports cli"),
        ("batchflow/errors.py", "if TYPE_CHECKING:\n    from batchflow.model import Receipt", "errors (layer 0)"),
        ("batchflow/cli/main.py", "import batchflow.attic.things", "batchflow.attic has no layer"),
    ],
)
def test_an_import_that_goes_up_is_seen(path, text, complaint):
    (violation,) = upward_imports(path, text)
    assert complaint in violation


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("batchflow/pool/pool.py", "from batchflow.pool.handles import Handle\nfrom . import handles"),
        ("batchflow/pool/pool.py", "from batchflow.model import Failure\nimport batchflow.errors\nimport os"),
        ("batchflow/cli/main.py", "def f():\n    from batchflow import errors, _core"),
        ("batchflow/pool/pool.py", "import batchflow\nbatchflow.__file__"),
        ("batchflow/cli/main.py", "def f():\n    from batchflow import __version__"),
        ("batchflow/cli/main.py", "from batchflow import run"),
        ("batchflow/__init__.py", "from batchflow.runner import face"),
    ],
)
def test_an_import_that_goes_down_or_stays_is_allowed(path, text):
    assert list(upward_imports(path, text)) == []


@pytest.mark.fault("A18", "S39", "S47")
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import subprocess\nsubprocess.run('ls', shell=True)", "shell=,"),
        ("import subprocess\nsubprocess.run('ls', shell=flag)", "shell=,"),
        ("import subprocess\nsubprocess.run(['/bin/sh', '-c', 'ls'])", "/bin/sh only"),
        ("def f():\n    import pickle", "pickle only"),
        ("from cloudpickle import dumps", "cloudpickle only"),
        ("import os\nos.fork()", "os.fork() only"),
        ("import os\nos.kill(pid, 9)", "os.kill() only"),
        ("import os\nos.system('ls')", "os.system()"),
    ],
)
def test_a_banned_call_is_seen(text, complaint):
    (violation,) = banned_calls("batchflow/parallel/x.py", text)
    assert complaint in violation


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("batchflow/runner/x.py", "subprocess.run(['ls'], shell=False)"),
        ("batchflow/parallel/x.py", "import os\nos.getpid()\nimprint('x')"),
    ],
)
def test_an_allowed_call_is_not_seen(path, text):
    assert list(banned_calls(path, text)) == []


@pytest.mark.parametrize(
    "text", ["import subprocess", "from multiprocessing import Pool", "time.sleep(0)", "def f():\n    os.fork()"]
)
def test_a_unit_test_with_a_process_or_a_wait_is_seen(text):
    assert len(list(impure_tests("tests/unit/test_x.py", text))) == 1
    assert list(impure_tests("tests/unit/test_x.py", "import os\nclock.advance(1)")) == []


def test_a_module_without_a_docstring_is_seen():
    assert list(missing_docstring("batchflow/x.py", "import os")) == ["batchflow/x.py:1: no docstring"]
    assert list(missing_docstring("batchflow/x.py", "")) == ["batchflow/x.py:1: no docstring"]
    assert list(missing_docstring("batchflow/x.py", '"""What it is."""')) == []


def test_a_module_of_401_lines_is_seen():
    assert list(long_modules("x.h", "\n" * 400)) == []
    assert list(long_modules("x.h", "\n" * 401)) == ["x.h: 401 lines, at most 400"]


@pytest.mark.parametrize(
    ("path", "head", "body", "tail"),
    [
        ("x.py", "def f():", "    pass", "x = 1"),
        ("x.pyx", "cdef int f(int x,\n           int y) noexcept nogil:", "    x += 1\n", "cdef int y = 0"),
        ("x.pxi", "    def f(self):", "        pass", "    def g(self): pass"),
        ("x.h", "static int f(int x) {", "    x += 1;", "}\nint y;"),
    ],
)
def test_a_function_of_61_lines_is_seen(path, head, body, tail):
    head_count = head.count("\n") + 1 + (1 if path == "x.h" else 0)
    wrap = "class C:\n" if path == "x.pxi" else ""

    def text(count):
        lines = body.rstrip("\n")
        return f"{wrap}{head}\n" + f"{lines}\n" * (count - head_count) + f"{tail}\n"

    assert list(long_functions(path, text(60))) == []
    (violation,) = long_functions(path, text(61))
    assert "a function of 61 lines" in violation


def test_a_path_of_one_machine_is_seen():
    folder = "/" + "home"
    assert len(list(machine_paths("x.md", f"see {folder}/someone/x.txt\nfine: network/X:0, a/home/b"))) == 1
    assert list(machine_paths("x.md", "fine: /usr/bin/env, /proc/stat, /dev/shm")) == []
