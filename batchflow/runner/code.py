"""Which code a step runs, and a digest of each of its files.

Python files count by their syntax tree, so comments and formatting change nothing, together with the local modules
they import, transitively; other files count by their bytes.  Code is read, never imported or run.

Invariant: equal digests mean equal meaning to Python; different ones may only mean a harmless edit.
"""

from __future__ import annotations

import ast
import hashlib
import re
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from batchflow.journal.records import Digest
from batchflow.workflow.scripts import syntax_tree

# Part of the cache's key: a digest made by other rules or by another parser is not reused.
_PYTHON_KIND = f"syntax-1-{sys.version_info.major}.{sys.version_info.minor}"
_CONTENT_KIND = "content"
# A file touched so recently may change again within one tick of the file system's clock: not remembered.
_SETTLED_NS = 2_000_000_000


class CodeReader:
    """Digests of code files, remembering what it read; ``fresh`` holds what the records do not know yet."""

    def __init__(self, folder: Path, known: Mapping[tuple[bytes, str], Digest]) -> None:
        self._folder = folder
        self._known = known
        self.fresh: dict[tuple[bytes, str], Digest] = {}

    def script(self, script: Path, roots: Sequence[Path]) -> dict[str, str]:
        """The digests of a Python file and of the local modules below ``roots`` that it imports, by file name."""
        return self._closure([script], roots)

    def module(self, dotted: str, roots: Sequence[Path]) -> dict[str, str]:
        """The same for a module by name; empty if it is not a local one."""
        return self._closure(find_module(dotted, roots), roots)

    def command(self, command: str | Sequence[str], ignored: Iterable[Path]) -> dict[str, str]:
        """The digests of the files below the workflow's folder that a shell command or a list of words names.

        ``ignored``: inputs and outputs, which have signatures of their own.
        """
        skipped = set(ignored)
        found: dict[str, str] = {}
        words = list(command_words(command))
        for before, word in zip(["", *words], words, strict=False):
            if before == "-m":
                found |= self.module(word, [self._folder])
                continue
            for path in self._named(word):
                if path not in skipped and not skipped.intersection(path.parents):
                    found |= self.script(path, [path.parent]) if path.suffix == ".py" else self._content(path)
        return found

    def _named(self, word: str) -> Iterator[Path]:
        """The files below the workflow's folder that a word of a command names: ``x.py``, ``--config=x.toml``."""
        for part in {word, word.partition("=")[2]}:
            if part and "\0" not in part:
                path = Path(self._folder, part)
                if ".." in path.parts:
                    path = path.resolve()
                if self._folder in path.parents and _is_file(path):
                    yield path

    def _content(self, path: Path) -> dict[str, str]:
        return {self._name(path): self._look_up(path, _CONTENT_KIND)["digest"]}

    def _closure(self, files: Sequence[Path], roots: Sequence[Path]) -> dict[str, str]:
        found: dict[Path, str] = {}
        waiting = list(files)
        while waiting:
            path = waiting.pop()
            if path in found:
                continue
            value = self._look_up(path, _PYTHON_KIND)
            found[path] = value["digest"]
            for level, dotted in value["imports"]:
                waiting.extend(_imported(path, level, dotted, roots))
        return {self._name(path): digest for path, digest in sorted(found.items())}

    def _name(self, path: Path) -> str:
        """Relative to the workflow's folder where it lies below it, so that the folder can be moved."""
        return str(path.relative_to(self._folder)) if self._folder in path.parents else str(path)

    def _look_up(self, path: Path, kind: str) -> Mapping[str, Any]:
        key = (str(path).encode(errors="surrogateescape"), kind)
        try:
            info = path.stat()
        except OSError:
            return {"digest": "missing", "imports": []}
        for memory in (self.fresh, self._known):
            old = memory.get(key)
            if old is not None and (old.size, old.mtime_ns) == (info.st_size, info.st_mtime_ns):
                return old.value
        try:
            value = _read_content(path) if kind == _CONTENT_KIND else _read_python(path)
        except OSError:
            return {"digest": "unreadable", "imports": []}
        if time.time_ns() - info.st_mtime_ns > _SETTLED_NS:
            self.fresh[key] = Digest(key[0], kind, info.st_size, info.st_mtime_ns, value)
        return value


def command_words(command: str | Sequence[str]) -> Iterator[str]:
    """The words of a command that may name a file it reads: not the operators of the shell, not what it writes to."""
    if not isinstance(command, str):
        yield from command
        return
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError:
        words = re.split(r"""[\s;&|()<>"'`]+""", command)
    for before, word in zip(["", *words], words, strict=False):
        if not before.endswith((">", ">|")):
            yield word


def find_module(dotted: str, roots: Sequence[Path]) -> list[Path]:
    """The files that ``import dotted`` executes, packages first, in the first of ``roots`` that has any of them.

    Parts that no file stands for are taken for names inside the last module found.
    """
    for root in roots:
        folder, found = root, []
        for part in dotted.split("."):
            package, module = folder / part / "__init__.py", folder / f"{part}.py"
            if _is_file(package):
                found.append(package)
            elif _is_file(module):
                found.append(module)
                break
            elif not (folder / part).is_dir():
                break
            folder = folder / part
        if found:
            return found
    return []


def _imported(path: Path, level: int, dotted: str, roots: Sequence[Path]) -> list[Path]:
    if level == 0:
        return find_module(dotted, roots)
    package = path.parent
    for _ in range(level - 1):
        package = package.parent
    return find_module(dotted, [package])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _read_content(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"digest": digest.hexdigest()[:32], "imports": []}


def _read_python(path: Path) -> dict[str, Any]:
    """The digest of the syntax tree and the modules imported anywhere in it, as ``[level, dotted name]``."""
    source = path.read_bytes()
    try:
        tree = syntax_tree(source)
        digest = hashlib.sha256("".join(_dump(tree)).encode(errors="surrogatepass")).hexdigest()[:32]
        imports = sorted({(level, dotted) for level, dotted in _imports(tree)})
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {"digest": "bytes-" + hashlib.sha256(source).hexdigest()[:32], "imports": []}
    return {"digest": digest, "imports": [list(one) for one in imports]}


def _dump(value: object) -> Iterator[str]:
    """The tree as text, without positions and empty fields: those differ from one Python to the next."""
    if isinstance(value, ast.AST):
        yield f"{type(value).__name__}("
        for name, child in ast.iter_fields(value):
            if child is not None and child != []:
                yield f"{name}="
                yield from _dump(child)
        yield ")"
    elif isinstance(value, list):
        yield "["
        for child in value:
            yield from _dump(child)
            yield ","
        yield "]"
    else:
        yield repr(value)


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.level, ".".join(part for part in (node.module, alias.name) if part)
