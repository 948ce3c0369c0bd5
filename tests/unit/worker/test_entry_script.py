"""Loading the user's script: executed once, as itself, its functions checked, its errors told with its own frames."""

from __future__ import annotations

import json
import pickle
import queue
import sys
import textwrap

import numpy  # here, as it cannot be loaded a second time
import pytest

from batchflow.errors import EntryScriptError
from batchflow.worker.entry_script import EntryScript, load_entry_script
from batchflow.worker.failures import user_traceback


@pytest.fixture(autouse=True)
def restored_interpreter(monkeypatch):
    """Loading changes ``sys``, as it must in a worker."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    modules = dict(sys.modules)
    yield
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]


@pytest.fixture
def load(tmp_path):
    def load(text, name="score_script.py", arguments=()):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return load_entry_script(path, tmp_path, arguments)

    return load


def run_batch(script: EntryScript, mini_batch: object, context: object) -> object:
    """As a worker calls it."""
    return script.run(mini_batch, context) if script.wants_context else script.run(mini_batch)


def test_the_file_is_executed_once_as_the_module_of_its_name(load, tmp_path):
    script = load(
        """
        import sys
        executed = 0
        executed += 1
        ARGV, PATH, FILE, NAME = list(sys.argv), list(sys.path), __file__, __name__
        class Thing: pass
        def init():
            global executed
            executed += 10
        def run(mini_batch):
            return [executed, *mini_batch]
        if __name__ == "__main__":
            raise SystemExit("the main block ran")
        """,
        arguments=["--model", "m.keras"],
    )
    module = script.module
    assert sys.modules["score_script"] is module
    assert script.init is module.init
    assert script.shutdown is script.init_shared is None
    assert str(tmp_path / "score_script.py") == module.FILE
    assert module.NAME == "score_script"
    assert module.ARGV == sys.argv == [module.FILE, "--model", "m.keras"]
    assert module.PATH[0] == str(tmp_path)
    assert module.PATH.count(str(tmp_path)) == 1
    script.init()
    assert run_batch(script, ["a"], None) == [11, "a"]
    assert type(pickle.loads(pickle.dumps(module.Thing()))) is module.Thing
    assert module.__spec__.origin == module.FILE
    assert not (tmp_path / "__pycache__").exists()


def test_the_scripts_folder_comes_before_the_source_directory(tmp_path):
    source, folder = tmp_path / "src", tmp_path / "src" / "scoring"
    folder.mkdir(parents=True)
    (source / "shared_helper.py").write_text("WHERE = 'source directory'")
    (source / "near_helper.py").write_text("WHERE = 'source directory'")
    (folder / "near_helper.py").write_text("WHERE = 'beside the script'")
    path = folder / "score_here.py"
    path.write_text("import near_helper, shared_helper\ndef run(mini_batch): pass")
    module = load_entry_script(path, source, []).module
    assert module.near_helper.WHERE == "beside the script"
    assert module.shared_helper.WHERE == "source directory"
    assert sys.path[:2] == [str(folder), str(source)]


def test_an_edited_file_is_executed_as_it_is_now(load):
    assert load("X = 1\ndef run(mini_batch): pass").module.X == 1
    del sys.modules["score_script"]
    assert load("X = 2\ndef run(mini_batch): pass").module.X == 2


@pytest.mark.fault("D8")
@pytest.mark.parametrize("name", ["json.py", "queue.py", "numpy.py", "batchflow.py", "__main__.py"])
def test_a_script_never_hides_a_module_that_has_its_name(load, name):
    stem = name.removesuffix(".py")
    before = sys.modules.get(stem)
    module = load("def run(mini_batch): return __name__\nif __name__ == '__main__': raise SystemExit", name).module
    assert module.__name__ == f"entry_script_{stem}"
    assert sys.modules.get(stem) is before
    assert (sys.modules["json"], sys.modules["queue"], sys.modules["numpy"]) == (json, queue, numpy)


@pytest.mark.parametrize(
    ("signature", "wants_context"),
    [
        ("def run(mini_batch)", False),
        ("def run(paths, /)", False),
        ("def run(mini_batch, context)", True),
        ("def run(a, b, /)", True),
        ("def run(mini_batch, mini_batch_context=None)", True),
        ("def run(mini_batch, context, threshold=1)", True),
        ("def run(mini_batch, threshold=0.5)", False),
        ("def run(mini_batch=None)", False),
        ("def run(*args)", False),
        ("def run(mini_batch, *args)", False),
        ("def run(mini_batch, **kwargs)", False),
        ("def run(mini_batch, *, context=None)", False),
    ],
)
def test_the_context_is_passed_to_a_second_positional_parameter(load, signature, wants_context):
    script = load(f"{signature}:\n    return locals()")
    assert script.wants_context is wants_context
    context = object()
    assert (context in run_batch(script, ["a"], context).values()) is wants_context


def test_run_may_be_any_callable(load):
    assert (
        run_batch(load("class Run:\n    def __call__(self, batch, context): return context\nrun = Run()"), [], 5) == 5
    )
    assert run_batch(load("import functools\nrun = functools.partial(lambda x, y: y + x, 'a')"), "b", None) == "ba"
    assert run_batch(load("run = len"), [1, 2], None) == 2
    assert load("run = max").wants_context is False  # it has no signature


@pytest.mark.fault("D5")
@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "has no function run()", "define run(mini_batch); it returns one element for each item"),
        ("run = None", "has no function run()", "define run(mini_batch); it returns one element for each item"),
        ("run = 5", "run is not a function but of type int", None),
        ("def run(): pass", "run() cannot be called with a mini-batch", "define run(mini_batch) or"),
        ("def run(a, b, c): pass", "run(a, b, c) cannot be called with a mini-batch", "define run(mini_batch) or"),
        ("def run(a, *, b): pass", "run(a, b) cannot be called with a mini-batch", "define run(mini_batch) or"),
        ("def run(*, a=1): pass", "run(a=1) cannot be called with a mini-batch", "define run(mini_batch) or"),
        ("async def run(a): pass", "run() must not be async", "call asyncio.run() in it"),
        ("async def run(a): yield", "run() must not be async", "call asyncio.run() in it"),
        ("def run(a): pass\ninit = 5", "init is not a function but of type int", None),
        (
            "def run(a): pass\ndef init(args): pass",
            "init() is called without arguments, but it needs args",
            "read the arguments from sys.argv",
        ),
        (
            "def run(a): pass\ndef shutdown(a, b): pass",
            "shutdown() is called without arguments, but it needs a, b",
            None,
        ),
        ("def run(a): pass\ndef init_shared(a): pass", "init_shared() is called without", None),
    ],
)
def test_a_script_without_usable_functions_is_refused(load, text, message, hint):
    with pytest.raises(EntryScriptError) as caught:
        load(text)
    assert message in str(caught.value)
    assert "score_script.py" in str(caught.value)
    if hint is not None:
        assert caught.value.hint.startswith(hint)


def test_hooks_may_have_defaults(load):
    script = load("def run(a): pass\ndef init(size=1, *args, **kwargs): return size\nshutdown = init")
    assert (script.init(), script.shutdown()) == (1, 1)


@pytest.mark.parametrize(
    ("raise_it", "message"),
    [
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: the script called sys.exit(3)"),
        ("raise KeyboardInterrupt", "cannot be imported: KeyboardInterrupt: "),
        ("import no_such_module_anywhere", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module"),
    ],
)
def test_an_error_while_importing_has_the_users_frames_only(load, tmp_path, raise_it, message):
    (tmp_path / "helper_that_fails.py").write_text(f"def go():\n    {raise_it}\n")
    with pytest.raises(EntryScriptError) as caught:
        load("import helper_that_fails\nhelper_that_fails.go()\n")
    assert message in str(caught.value)
    lines = caught.value.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == f'  File "{tmp_path}/score_script.py", line 2, in <module>'
    assert f'  File "{tmp_path}/helper_that_fails.py", line 2, in go' in lines
    files = [line for line in lines if line.startswith("  File")]
    assert len(files) == 2
    assert "score_script" not in sys.modules


def test_frames_of_the_import_system_are_cut_off(load, tmp_path):
    (tmp_path / "helper_on_demand.py").write_text("1 / 0\n")
    with pytest.raises(EntryScriptError) as caught:
        load("import importlib\nimportlib.import_module('helper_on_demand')\n")
    files = [line.split('"')[1] for line in caught.value.traceback.splitlines() if line.startswith("  File")]
    assert files == [f"{tmp_path}/score_script.py", f"{tmp_path}/helper_on_demand.py"]


def test_a_syntax_error_shows_its_place_and_no_frame(load, tmp_path):
    with pytest.raises(EntryScriptError, match="cannot be imported: SyntaxError: ") as caught:
        load("def run(mini_batch)\n    pass\n")
    first, line, *_ = caught.value.traceback.splitlines()
    assert first == f'  File "{tmp_path}/score_script.py", line 1'
    assert line == "    def run(mini_batch)"


def test_a_file_with_a_nul_byte_is_refused(load):
    with pytest.raises(EntryScriptError, match=r"cannot be imported: (SyntaxError|ValueError): .*null bytes"):
        load("x = '\0'\n")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(EntryScriptError, match=r"entry_script: cannot read .*/nowhere.py: No such file or directory"):
        load_entry_script(tmp_path / "nowhere.py", tmp_path, [])


@pytest.mark.fault("D7")
def test_what_is_executed_may_be_given_and_is_what_a_traceback_shows(tmp_path):
    path = tmp_path / "score_script.py"
    path.write_text("# another file by now\n" * 9)
    source = b"# \xe4\n# coding: latin-1\n\ndef run(mini_batch):\n    return 1 / 0  # as it ran\n"
    script = load_entry_script(path, tmp_path, [], source.replace(b"# \xe4\n", b""))
    with pytest.raises(ZeroDivisionError) as caught:
        run_batch(script, [], None)
    assert "return 1 / 0  # as it ran" in user_traceback(caught.value)
    with pytest.raises(EntryScriptError, match="cannot be imported: SyntaxError"):
        load_entry_script(path, tmp_path, [], b"def run(:")
