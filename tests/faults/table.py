"""The catalogue of faults, the tests that take an entry on, and the table of both in ``docs/reliability.md``.

A test says so by ``@pytest.mark.fault("A1", …)``; a parameter by ``pytest.param(…, marks=pytest.mark.fault(…))``.  The
marks are read from the source, not by importing it, so that the table depends neither on what is installed nor on
which tests are selected.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import tomli

ROOT = Path(__file__).parents[2]
CATALOGUE = Path(__file__).with_name("catalogue.toml")
DOCUMENT = ROOT / "docs/reliability.md"
DOCUMENTS = {CATALOGUE: DOCUMENT, CATALOGUE.with_name("security.toml"): ROOT / "SECURITY.md"}
"""Catalogue → the document that has its table."""
BEGIN = "<!-- faults: written by `python -m tests.faults` -->"
END = "<!-- end of faults -->"


@dataclass(frozen=True)
class Catalogue:
    """Every entry by its name, a letter and a number, in order."""

    groups: Mapping[str, str]
    entries: Mapping[str, str]
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Entry → the command that tests it, for what plain ``pytest`` has no time for."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Entry → why no test has it."""

    @classmethod
    def read(cls, path: Path = CATALOGUE) -> Catalogue:
        values = tomli.loads(path.read_text(encoding="utf-8"))
        return cls(values["groups"], values["entries"], values.get("elsewhere", {}), values.get("reasons", {}))


@dataclass(frozen=True)
class Mark:
    """One test that takes ``entry`` on; ``test`` is its name for pytest, without parameters."""

    entry: str
    test: str


def marks_in(path: str, text: str) -> Iterator[Mark]:
    """The marks of one file: of its functions, of their parameters, and of the whole file (``pytestmark``)."""
    tree = ast.parse(text)
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    of_file = [one for one in tree.body if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "pytestmark"]
    for test in tests:
        for node in (*of_file, *test.decorator_list):
            for entry in _entries(path, node):
                yield Mark(entry, f"{path}::{test.name}")


def _entries(path: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
            for argument in node.args:
                if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
                    raise ValueError(f"{path}:{node.lineno}: the entries of a fault are written out")
                yield argument.value


def all_marks() -> list[Mark]:
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    return [mark for path in paths for mark in marks_in(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))]


def by_entry(marks: Iterable[Mark]) -> dict[str, list[str]]:
    """Entry → its tests, each once."""
    found: dict[str, dict[str, None]] = {}
    for mark in marks:
        found.setdefault(mark.entry, {})[mark.test] = None
    return {entry: list(tests) for entry, tests in found.items()}


def table(catalogue: Catalogue, tests: Mapping[str, list[str]]) -> str:
    """The part of the document between its two marks."""
    automated = [entry for entry in catalogue.entries if entry in tests or entry in catalogue.elsewhere]
    lines = [BEGIN, "", f"{len(automated)} of {len(catalogue.entries)} entries are automated.", ""]
    for letter, title in catalogue.groups.items():
        lines += [f"### {letter}. {title}", "", "| | what happens | test, or why there is none |", "|---|---|---|"]
        for entry, name in catalogue.entries.items():
            if entry.rstrip("0123456789") == letter:
                lines.append(f"| {entry} | {_cell(name)} | {_answer(entry, catalogue, tests)} |")
        lines.append("")
    return "\n".join([*lines, END])


def _answer(entry: str, catalogue: Catalogue, tests: Mapping[str, list[str]]) -> str:
    named = [f"`{test.removeprefix('tests/')}`" for test in tests.get(entry, ())]
    if entry in catalogue.elsewhere:
        named.append(f"`{catalogue.elsewhere[entry]}`")
    return "<br>".join(named) or _cell(catalogue.reasons.get(entry, ""))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def written(document: str, part: str) -> str:
    """``document`` with ``part`` in the place of what lies between the marks that ``part`` begins and ends with."""
    begin, *_, end = part.splitlines()
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"the document has no single part between {begin} and {end}")
    return pattern.sub(lambda _: part, document)
