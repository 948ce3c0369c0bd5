"""``${namespace.name}``: the grammar, and the templates that stay open until a step runs.

A *template* is what is left of a value once everything known has been filled in.  In it ``${outputs.NAME}`` is open,
``${$}`` is a dollar sign, and all else stands for itself.  Every dollar sign of an inserted value is written ``${$}``,
so no value can become a reference, whatever it holds and whatever stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from batchflow.workflow.shell import ShellScanner, quote_at
from batchflow.workflow.values import Template

NAMESPACES = ("params", "inputs", "outputs", "steps", "models", "datasets", "workflow")
LATER_NAMESPACES = ("environments", "matrix", "foreach", "each", "run", "env")
DOLLAR = "${$}"

_BRACED = re.compile(r"\$\$\{|\$\{([^{}\n]*)\}")
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_*\[\]-]+)+")
_OPEN = re.compile(r"\$\{\$\}|\$\{outputs\.([a-z0-9_-]{1,64})\}")


@dataclass(frozen=True)
class Reference:
    """``parts`` are the names between the dots, ``source`` is how it stands in the file."""

    source: str
    parts: tuple[str, ...]

    @property
    def namespace(self) -> str:
        return self.parts[0]


@dataclass(frozen=True)
class Unclosed:
    """The beginning of a reference that never ends, or has another one inside it."""

    source: str


_UNCLOSED = re.compile(r"\$\{ *(?:" + "|".join(NAMESPACES) + r")\.[A-Za-z0-9_.-]*")


def parse(text: str) -> Iterator[str | Reference | Unclosed]:
    """The pieces of a text of the file, in order; text pieces are templates without open references.

    ``$${`` is the characters ``${``.  What is in braces but has no dot, ``${HOME}``, is text.
    """
    end = 0
    for match in _BRACED.finditer(text):
        yield from _between(text[end : match.start()])
        end = match.end()
        inner = match.group(1)
        if inner is None:
            yield DOLLAR + "{"
        elif _DOTTED.fullmatch(inner.strip()):
            yield Reference(match.group(), tuple(inner.strip().split(".")))
        else:
            yield DOLLAR + match.group()[1:] if inner == "$" else match.group()
    yield from _between(text[end:])


def _between(text: str) -> Iterator[str | Unclosed]:
    """Text that holds no complete braces."""
    if not text:
        return
    unclosed = _UNCLOSED.search(text)
    if unclosed is not None:
        yield Unclosed(unclosed.group())
    yield text.replace("${", DOLLAR + "{")


def escape(text: str) -> str:
    """A template that stands for exactly this text."""
    return text.replace("$", DOLLAR)


def readable(template: str) -> str:
    """A template as a person would write it, for showing only."""
    return template.replace(DOLLAR, "$")


def is_reference(text: str) -> bool:
    """Whether a text of the file is one reference and nothing else."""
    pieces = list(parse(text))
    return len(pieces) == 1 and isinstance(pieces[0], Reference)


def open_outputs(template: str) -> tuple[str, ...]:
    """The names of the outputs that a template still waits for, in order."""
    return tuple(match.group(1) for match in _OPEN.finditer(template) if match.group(1) is not None)


@overload
def render(template: str, outputs: Mapping[str, Path], *, shell: bool = False) -> str: ...
@overload
def render(template: tuple[str, ...], outputs: Mapping[str, Path], *, shell: bool = False) -> tuple[str, ...]: ...
@overload
def render(
    template: Mapping[str, Template], outputs: Mapping[str, Path], *, shell: bool = False
) -> dict[str, Template]: ...
@overload
def render(template: Template, outputs: Mapping[str, Path], *, shell: bool = False) -> Template: ...
def render(
    template: Template | tuple[str, ...] | Mapping[str, Template], outputs: Mapping[str, Path], *, shell: bool = False
) -> Template | tuple[str, ...] | dict[str, Template]:
    """The value a template stands for, with the paths of the step's outputs in it; ``KeyError`` if one is missing.

    ``shell`` is for the string of a ``run`` step: paths are quoted for the place where they stand.  In the list of a
    ``run`` step, in arguments and in ``args`` nothing is quoted, because no shell reads them.
    """
    fill = _fill_command if shell else _fill_text
    return _render(template, lambda text: fill(text, outputs))


def _render(value: object, fill: Callable[[str], str]) -> Template | tuple[str, ...] | dict[str, Template]:
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, tuple):
        return tuple(fill(str(one)) for one in value)
    if isinstance(value, list):
        return [_as_template(_render(one, fill)) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _as_template(_render(one, fill)) for key, one in value.items()}
    if isinstance(value, (bool, int, float)):
        return value
    raise TypeError(f"a template cannot hold a value of type {type(value).__name__}")


def _as_template(value: Template | tuple[str, ...] | dict[str, Template]) -> Template:
    return list(value) if isinstance(value, tuple) else value


def _fill_text(text: str, outputs: Mapping[str, Path]) -> str:
    return _OPEN.sub(lambda match: "$" if match.group(1) is None else str(outputs[match.group(1)]), text)


def _fill_command(command: str, outputs: Mapping[str, Path]) -> str:
    scanner, filled, end = ShellScanner(), [], 0
    for match in _OPEN.finditer(command):
        name = match.group(1)
        before = command[end : match.start()] + ("$" if name is None else "")
        scanner.feed(before)
        filled.append(before)
        if name is not None:
            filled.append(quote_at(scanner.place, [str(outputs[name])]))
            scanner.inserted()
        end = match.end()
    return "".join([*filled, command[end:]])
