"""Rules about the source that keep attackers out: one way to the terminal, no made-up SQL, no socket to connect to.

Each is a function of text, seen to fail below.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from unit.test_tidy import PACKAGE, called_name, sources

WRITING = ("batchflow/cli/streams.py", "batchflow/cli/drawing.py", "batchflow/cli/live.py")
"""The rooms that write to the terminal."""
LOGGING = tuple(f"batchflow/worker/{name}.py" for name in ("capture", "loop", "guard", "zygote"))
"""Run in children, whose output is a log."""

SQL = re.compile(r"\s*(SELECT|INSERT|REPLACE|UPDATE|DELETE|CREATE|DROP|ALTER|ATTACH)\s", re.ASCII)
NETWORK = {"bind", "listen", "create_server", "start_server", "socketserver", "AF_INET", "AF_INET6"}


def terminal_writes(path: str, text: str) -> Iterator[str]:
    """Ways to the terminal past ``cli/streams.py``, where everything passes ``safe_text``."""
    if path in (*WRITING, *LOGGING):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("print", "warnings.warn", "sys.excepthook") or name.endswith((".print", ".print_exc")):
                yield f"{path}:{node.lineno}: {name}() only in {WRITING[0]}"
            elif name == "os.write" and ast.unparse(node.args[0]) in ("0", "1", "2"):
                yield f"{path}:{node.lineno}: os.write() to the terminal only in {WRITING[0]}"
            elif name == "write_drawing" and not ast.unparse(node.args[0]).startswith("rendered("):
                yield f"{path}:{node.lineno}: write_drawing() is for what was rendered"
        elif isinstance(node, ast.Attribute) and re.fullmatch(r"sys\.(__)?std(out|err)(__)?", ast.unparse(node)):
            yield f"{path}:{node.lineno}: {ast.unparse(node)} only in {WRITING[0]}"
        elif isinstance(node, ast.ImportFrom) and node.module in ("rich", "rich.console", "rich.text"):
            yield f"{path}:{node.lineno}: {node.module} only in {' and '.join(WRITING[1:])}"


def made_sql(path: str, text: str) -> Iterator[str]:
    """SQL with anything in it but constants of the module, or arguments that are one of a few literals."""
    for function in [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.FunctionDef, ast.Module))]:
        literals = set() if isinstance(function, ast.Module) else set(literal_arguments(function.args))
        for node in inside(function):
            if isinstance(node, ast.JoinedStr):
                inserted = [ast.unparse(one.value) for one in node.values if isinstance(one, ast.FormattedValue)]
            elif isinstance(node, ast.BinOp) or (
                isinstance(node, ast.Call) and called_name(node) in ("format", "join")
            ):
                inserted = ["a value"]
            else:
                continue
            bad = [name for name in inserted if not name.isupper() and name not in literals]
            if bad and SQL.match(first_text(node)):
                yield f"{path}:{node.lineno}: values reach SQL as parameters, not {', '.join(bad)}"


def inside(function: ast.FunctionDef | ast.Module) -> Iterator[ast.AST]:
    """The nodes of a function's body, those of functions inside it left out."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.FunctionDef):
            yield node
            waiting += ast.iter_child_nodes(node)


def literal_arguments(arguments: ast.arguments) -> Iterator[str]:
    for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        if one.annotation is not None and ast.unparse(one.annotation).startswith("Literal["):
            yield one.arg


def first_text(node: ast.AST) -> str:
    """The text with which a made string begins."""
    return next(
        (one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)), ""
    )


def network(path: str, text: str) -> Iterator[str]:
    """Names of sockets that somebody else could connect to."""
    for node in ast.walk(ast.parse(text)):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in NETWORK:
            yield f"{path}:{node.lineno}: {name}, nothing of ours is to be connected to"


RULES = {
    "terminal_writes": terminal_writes,
    "made_sql": made_sql,
    "network": network,
}


@pytest.mark.fault("S11", "S23", "S32")
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_source_keeps_the_rule(rule):
    files = sources(*PACKAGE)
    violations = [violation for path, text in files for violation in rule(path, text)]
    if violations or not files:
        pytest.fail("\n".join(violations) or "no files", pytrace=False)


@pytest.mark.parametrize(
    "text",
    [
        "print(x)",
        "console.print(x)",
        "traceback.print_exc()",
        "warnings.warn(x)",
        "os.write(2, x)",
        "sys.stderr.write(x)",
        "file = sys.__stdout__",
        "from rich.text import Text",
        "write_drawing(name)",
    ],
)
def test_a_way_to_the_terminal_past_its_room_is_seen(text):
    assert len(list(terminal_writes("batchflow/runner/x.py", text))) == 1
    assert list(terminal_writes("batchflow/cli/streams.py", text)) == []


def test_what_writes_elsewhere_is_allowed():
    text = "os.write(descriptor, x)\nfile.write(x)\nwrite_drawing(rendered(x))\nscreen.line(x)"
    assert list(terminal_writes("batchflow/runner/x.py", text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "c.execute(f'SELECT {name}')",
        "c.executemany('DELETE FROM ' + table, rows)",
        "c.execute('SELECT {}'.format(x))",
        "c.execute('SELECT %s' % x)",
        "def f(by: str):\n    text = f'SELECT x ORDER BY {by}'",
    ],
)
def test_a_statement_made_from_values_is_seen(text):
    assert len(list(made_sql("batchflow/x.py", text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "c.execute('SELECT ?', (x,))",
        "c.execute(f'SELECT {_COLUMNS} FROM x')",
        "def f(by: Literal['a', 'b']):\n    c.execute(f'SELECT x ORDER BY {by}')",
        "f'selected {x}'",
        "f'SELECTED {x}'",
    ],
)
def test_a_statement_of_constants_is_allowed(text):
    assert list(made_sql("batchflow/x.py", text)) == []


@pytest.mark.parametrize(
    "text", ["s.bind(x)", "s.listen()", "asyncio.start_server(f)", "socket.AF_INET", "import os; listen(3)"]
)
def test_a_socket_of_the_network_is_seen(text):
    assert len(list(network("batchflow/x.py", text))) == 1
    assert list(network("batchflow/x.py", "socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)")) == []
