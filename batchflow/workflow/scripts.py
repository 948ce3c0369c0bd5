"""Is the code of a step there, and does it define what will be called?  Read as a syntax tree, never imported."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

SCRIPT_SIZE_MAX = 16 * 1024 * 1024
_parsing = threading.Lock()


class ScriptFault(Exception):
    """What is wrong with a script: ``code`` is BF051, BF052 or BF053."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def check_entry_script(path: Path, shown: str) -> None:
    """Raise ``ScriptFault`` unless the file defines ``run`` for one mini-batch, or a mini-batch and its context."""
    definition = find_definition(parse_script(path, f"entry script {shown}"), "run")
    hint = "define run(mini_batch), which returns one element for each item"
    if definition is None:
        raise ScriptFault("BF052", f"entry script {shown} does not define run()", hint)
    if isinstance(definition, ast.AsyncFunctionDef):
        raise ScriptFault("BF052", f"run() of {shown} is async", "make it a plain function")
    if isinstance(definition, ast.ClassDef):
        raise ScriptFault("BF052", f"run of {shown} is a class", hint)
    if isinstance(definition, ast.FunctionDef) and not (accepts(definition, 1) or accepts(definition, 2)):
        message = f"run() of {shown} must take (mini_batch) or (mini_batch, context), line {definition.lineno}"
        raise ScriptFault("BF052", message, hint)


def check_call(target: str, folder: Path) -> None:
    """Raise ``ScriptFault`` unless ``module:function`` exists below the folder, or its package is installed."""
    module, _, function = target.partition(":")
    path = find_module(module, folder)
    if path is None:
        if not _is_installed(module.partition(".")[0]) or (folder / module.partition(".")[0]).is_dir():
            hint = f"expected {module.replace('.', '/')}.py in the workflow's folder"
            if module.endswith(".py"):
                hint = f"write {module.removesuffix('.py')}:{function}"
            raise ScriptFault("BF051", f"no module `{module}`", hint)
        return
    shown = os.path.relpath(path, folder)
    tree = parse_script(path, f"module {shown}")
    definition = find_definition(tree, function)
    hint = f"define {function}(inputs, outputs, args)"
    if definition is None:
        near = difflib.get_close_matches(function, _names(tree), n=1)
        hint = f"did you mean `{module}:{near[0]}`?" if near else hint
        raise ScriptFault("BF053", f"module {shown} does not define {function}()", hint)
    if isinstance(definition, ast.AsyncFunctionDef):
        raise ScriptFault("BF053", f"{function}() of {shown} is async", "make it a plain function")
    if isinstance(definition, ast.FunctionDef) and not accepts(definition, 3):
        message = f"{function}() of {shown} must take (inputs, outputs, args), line {definition.lineno}"
        raise ScriptFault("BF053", message, hint)


def find_module(module: str, folder: Path) -> Path | None:
    """The file of a module below the folder; None if it is not a local one."""
    base = folder.joinpath(*module.split("."))
    return next((one for one in (base / "__init__.py", base.with_name(base.name + ".py")) if one.is_file()), None)


def parse_script(path: Path, what: str) -> ast.Module:
    """The syntax tree of a file; ``ScriptFault`` if it cannot be read or parsed."""
    try:
        if path.is_dir():
            raise ScriptFault("BF051", f"{what} is a folder")
        if path.exists() and not path.is_file():
            raise ScriptFault("BF051", f"{what} is not a regular file")
        with path.open("rb") as file:
            source = file.read(SCRIPT_SIZE_MAX + 1)
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()
        raise ScriptFault("BF051", f"{what} {reason}", _near(path)) from None
    if len(source) > SCRIPT_SIZE_MAX:
        raise ScriptFault("BF051", f"{what} is larger than {SCRIPT_SIZE_MAX // 1024 // 1024} MiB")
    try:
        return syntax_tree(source, str(path))
    except SyntaxError as error:
        raise ScriptFault("BF051", f"{what}, line {error.lineno or 1}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ScriptFault("BF051", f"{what} cannot be parsed: {str(error) or type(error).__name__}") from None


def syntax_tree(source: bytes, name: str = "<script>") -> ast.Module:
    """``ast.parse`` that says nothing: a warning of the compiler would show the file's own words on the terminal."""
    # The filters belong to the whole process: at least our own threads must not restore each other's.
    with _parsing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source, name)


def find_definition(tree: ast.Module, name: str) -> ast.stmt | None:
    """The last statement at the top level, also below ``if``, ``try`` and ``with``, that gives ``name`` a value."""
    found = None
    for statement in _top_level(tree.body):
        if name in _defined_by(statement):
            found = statement
    return found


def _names(tree: ast.Module) -> list[str]:
    """The functions and classes of a module, those that are its own affair left out."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [one.name for one in _top_level(tree.body) if isinstance(one, kinds) and not one.name.startswith("_")]


def accepts(function: ast.FunctionDef, count: int) -> bool:
    """Whether the function can be called with ``count`` positional arguments and nothing else."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if any(default is None for default in arguments.kw_defaults):
        return False
    # A decorator may change what is taken.
    if function.decorator_list:
        return True
    required = len(positional) - len(arguments.defaults)
    return required <= count and (count <= len(positional) or arguments.vararg is not None)


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        for block in ("body", "orelse", "finalbody"):
            if isinstance(statement, (ast.If, ast.Try, ast.With)):
                yield from _top_level(getattr(statement, block, []))
        if isinstance(statement, ast.Try):
            for handler in statement.handlers:
                yield from _top_level(handler.body)


def _defined_by(statement: ast.stmt) -> set[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    return set()


def _is_installed(package: str) -> bool:
    """Whether a top-level package can be found; nothing is imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def _near(path: Path) -> str | None:
    from batchflow.workflow.diagnostics import did_you_mean

    try:
        return did_you_mean(path.name, [one.name for one in path.parent.glob("*.py")])
    except OSError:
        return None
