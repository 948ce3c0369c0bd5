"""What references can name, and the filling in of those whose value is known when the file is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from batchflow.workflow import paths, references
from batchflow.workflow.diagnostics import Problems, did_you_mean
from batchflow.workflow.document import Document, Loc
from batchflow.workflow.references import Reference, Unclosed
from batchflow.workflow.shell import FORBIDDEN, ShellScanner, quote_at
from batchflow.workflow.values import (
    FileDataset,
    Input,
    Model,
    Output,
    Parameter,
    ParameterValue,
    Position,
    TableDataset,
    escape_pattern,
)

if TYPE_CHECKING:
    from batchflow.tables.options import TableOptions

IN_DECLARATIONS = frozenset({"params", "workflow"})
IN_INPUTS = IN_DECLARATIONS | {"steps", "datasets", "models"}
IN_SETTINGS = IN_INPUTS | {"inputs"}
IN_TEMPLATES = IN_SETTINGS | {"outputs"}


@dataclass
class Uses:
    """What the references seen so far lead to."""

    params: set[str] = field(default_factory=set)
    steps: set[str] = field(default_factory=set)
    inputs: dict[str, Input] = field(default_factory=dict)
    """Files named outside ``inputs``, by how they are named: inputs all the same, so that a change is seen."""


@dataclass
class Scope:
    """Everything declared in the file.  None stands for what is declared but wrong, and was reported."""

    document: Document
    problems: Problems
    name: str
    params: dict[str, Parameter | None] = field(default_factory=dict)
    datasets: dict[str, FileDataset | TableDataset | None] = field(default_factory=dict)
    models: dict[str, Model | None] = field(default_factory=dict)
    outputs: dict[str, dict[str, Output | None]] = field(default_factory=dict)
    """Of every step, by its name."""
    uses: dict[Loc, Uses] = field(default_factory=dict)
    """What the declaration of a dataset, a model or an output uses itself."""
    broken: set[Loc] = field(default_factory=set)
    """Values with a reference that was reported: nothing more is said about them."""

    @property
    def folder(self) -> Path:
        return self.document.path.parent

    def is_broken(self, loc: Loc) -> bool:
        """Whether something at or below a location was reported."""
        return any(one[: len(loc)] == loc for one in self.broken)


@dataclass(frozen=True)
class OpenOutput:
    """A reference to an output of the step itself, whose path is known when it runs."""

    name: str


@dataclass(frozen=True)
class Files:
    """The value of a reference to files: paths, or the patterns of a dataset; folders have ``/`` at the end."""

    patterns: tuple[str, ...]
    is_dataset: bool
    producer: str | None = None
    position: Position | None = None
    """Where a dataset's ``files`` or ``table`` stands."""
    dataset: str | None = None
    """Its name, and what it says of the items in the files."""
    table: TableOptions | None = None
    partition_format: str | None = None


DeclaredT = TypeVar("DeclaredT")
Found: TypeAlias = "ParameterValue | OpenOutput | Files"


class Filler:
    """Fills the references of one step or declaration.

    ``allowed`` are the namespaces that may be used, ``inputs`` and ``outputs`` what the step declares.
    """

    def __init__(
        self,
        scope: Scope,
        uses: Uses,
        allowed: Collection[str],
        inputs: Mapping[str, Input | None] | None = None,
        outputs: Collection[str] = (),
    ) -> None:
        self._scope = scope
        self._uses = uses
        self._allowed = allowed
        self._inputs = inputs or {}
        self._outputs = outputs

    def value(self, source: object, loc: Loc, *, template: bool = False) -> object:
        """The value with the references in all its texts filled in; a lone reference keeps its type."""
        if isinstance(source, str):
            return self._text(source, loc, template)
        if isinstance(source, list):
            return [self.value(one, (*loc, index), template=template) for index, one in enumerate(source)]
        if isinstance(source, dict):
            return {key: self.value(one, (*loc, key), template=template) for key, one in source.items()}
        return source

    def words(self, source: Iterable[str], loc: Loc) -> tuple[str, ...]:
        """Templates of an argument list: a lone reference to a list becomes several words."""
        words: list[str] = []
        for index, one in enumerate(source):
            value = self._text(one, (*loc, index), True)
            words += [_as_text(part) for part in value] if isinstance(value, list) else [_as_text(value)]
        return tuple(words)

    def command(self, source: str, loc: Loc) -> str:
        """The template of a shell command, each value quoted for the place where it stands."""
        scanner, filled = ShellScanner(), []
        for piece, found in self._pieces(source, loc):
            if found is None:
                scanner.feed(references.readable(piece))
                filled.append(piece)
                continue
            place = scanner.place
            if place in FORBIDDEN:
                where, hint = FORBIDDEN[place]
                self._report("BF033", f"`{piece}` {where} cannot be quoted safely", loc, piece, hint)
            elif isinstance(found, OpenOutput):
                filled.append(f"${{outputs.{found.name}}}")
            else:
                words = _words(found)
                if place != "plain" and len(words) > 1:
                    self._report("BF033", f"`{piece}` is a list, which cannot stand inside quotes", loc, piece)
                filled.append(references.escape(quote_at(place, words)))
            scanner.inserted()
        return "".join(filled)

    def files(self, source: str, loc: Loc) -> Files | None:
        """What a text that must be a path or a pattern names; None if that was reported."""
        pieces = list(self._pieces(source, loc))
        if loc in self._scope.broken:
            return None
        if len(pieces) == 1 and isinstance(pieces[0][1], Files):
            return pieces[0][1]
        path, pattern, written, producer = "", "", "", None
        for piece, found in pieces:
            if isinstance(found, Files) and len(found.patterns) == 1:
                path += found.patterns[0]
                pattern += found.patterns[0] if found.is_dataset else escape_pattern(found.patterns[0])
                producer = producer or found.producer
            elif isinstance(found, (Files, list, OpenOutput)):
                self._report("BF033", f"`{piece}` is a list, which cannot stand inside a path", loc, piece)
                return None
            else:
                text = references.readable(piece) if found is None else _as_text(found)
                path, pattern, written = path + text, pattern + text, written + text
        # Only what is written here makes a pattern of it, not what the name of a folder happens to hold.
        return Files((pattern,), True, producer) if paths.is_pattern(written) else Files((path,), False, producer)

    def _text(self, source: str, loc: Loc, template: bool) -> ParameterValue:
        pieces = list(self._pieces(source, loc))
        if len(pieces) == 1 and pieces[0][1] is not None:
            return _whole(pieces[0][1], template)
        text = ""
        for piece, found in pieces:
            if found is None:
                text += piece if template else references.readable(piece)
            elif isinstance(found, OpenOutput):
                text += f"${{outputs.{found.name}}}"
            else:
                words = _words(found)
                if len(words) != 1 or isinstance(found, list):
                    self._report("BF033", f"`{piece}` is a list, which can only stand alone", loc, piece)
                text += references.escape(" ".join(words)) if template else " ".join(words)
        return text

    def _pieces(self, source: str, loc: Loc) -> Iterable[tuple[str, Found | None]]:
        """Each piece with what it refers to: None for plain text; what is wrong is reported and left out."""
        for piece in references.parse(source):
            if isinstance(piece, str):
                yield piece, None
            elif isinstance(piece, Unclosed):
                message = f"`{piece.source}` is not closed, or has another reference inside it"
                self._report("BF032", message, loc, piece.source)
            else:
                found = self._look_up(piece, loc)
                if found is not None:
                    yield piece.source, found

    def _look_up(self, reference: Reference, loc: Loc) -> Found | None:
        namespace, source = reference.namespace, reference.source
        if namespace in references.LATER_NAMESPACES or "[" in source:
            what = "[…]" if "[" in source else f"`{namespace}`"
            self._report("BF015", f"{what} in references is not yet supported", loc, source)
        elif namespace not in references.NAMESPACES:
            hint = did_you_mean(namespace, references.NAMESPACES) or "write $${…} for the characters themselves"
            self._report("BF031", f"unknown namespace `{namespace}` in `{source}`", loc, source, hint)
        elif namespace not in self._allowed:
            allowed = ", ".join(sorted(self._allowed))
            self._report("BF032", f"`{source}` cannot stand here", loc, source, f"allowed here: {allowed}")
        else:
            found = self._find(reference, loc)
            if found is None:
                self._scope.broken.add(loc)
            return found
        return None

    def _find(self, reference: Reference, loc: Loc) -> Found | None:
        namespace, names = reference.namespace, reference.parts[1:]
        if namespace == "steps":
            return self._find_step_output(reference, loc)
        if len(names) != 1:
            self._unknown(reference, loc, f"`{reference.source}` has too many parts", ())
            return None
        name = names[0]
        if namespace == "params":
            parameter = self._declared(self._scope.params, name, "no parameter", reference, loc)
            self._uses.params.add(name)
            if parameter is not None and parameter.type == "path":
                return Files((str(parameter.value),), False)
            return None if parameter is None else parameter.value
        if namespace == "workflow":
            values: dict[str, str | Files] = {
                "name": self._scope.name,
                "folder": Files((str(self._scope.folder),), False),
            }
            return self._declared(values, name, "the namespace `workflow` has no", reference, loc)
        if namespace == "outputs":
            known = dict.fromkeys(self._outputs, OpenOutput(name))
            return self._declared(known, name, "this step has no output", reference, loc)
        if namespace == "inputs":
            step_input = self._declared(self._inputs, name, "this step has no input", reference, loc)
            return None if step_input is None else Files(step_input.patterns, step_input.kind == "dataset")
        return self._find_declared_files(reference, name, loc)

    def _find_declared_files(self, reference: Reference, name: str, loc: Loc) -> Files | None:
        scope = self._scope
        if reference.namespace == "models":
            model = self._declared(scope.models, name, "no model", reference, loc)
            files = None if model is None else Files((str(model.path),), False)
        else:
            dataset = self._declared(scope.datasets, name, "no dataset", reference, loc)
            files = None if dataset is None else self._dataset_files(dataset)
        if files is not None:
            self._add_use(reference, files, (reference.namespace, name), loc)
        return files

    def _dataset_files(self, dataset: FileDataset | TableDataset) -> Files:
        producer = min(self._scope.uses["datasets", dataset.name].steps, default=None)
        if isinstance(dataset, TableDataset):
            position = self._scope.document.deferred(("datasets", dataset.name, "table"), "value")
            return Files(dataset.patterns, True, producer, position, dataset.name, table=dataset.options)
        position = self._scope.document.deferred(("datasets", dataset.name, "files"), "value")
        return Files(
            dataset.patterns, True, producer, position, dataset.name, partition_format=dataset.partition_format
        )

    def _find_step_output(self, reference: Reference, loc: Loc) -> Files | None:
        if len(reference.parts) != 4 or reference.parts[2] != "outputs":
            message = f"`{reference.source}` is not of the form ${{steps.STEP.outputs.NAME}}"
            self._unknown(reference, loc, message, ())
            return None
        _, step, _, name = reference.parts
        outputs = self._declared(self._scope.outputs, step, "no step", reference, loc)
        if outputs is None:
            return None
        output = self._declared(outputs, name, f"step `{step}` has no output", reference, loc)
        if output is None:
            return None
        self._uses.steps.add(step)
        files = Files((f"{output.path}/" if output.is_folder else str(output.path),), False, step)
        self._add_use(reference, files, ("steps", step, "outputs", name), loc)
        return files

    def _add_use(self, reference: Reference, files: Files, declared_at: Loc, loc: Loc) -> None:
        """Note what a declaration uses, and the files as an input if they are named outside ``inputs``."""
        declaration = self._scope.uses.get(declared_at)
        if declaration is not None:
            self._uses.params |= declaration.params
            self._uses.steps |= declaration.steps
        if "inputs" in self._allowed:
            name = ".".join(reference.parts)
            kind: Literal["path", "dataset"] = "dataset" if files.is_dataset else "path"
            position = files.position or self._scope.document.deferred(loc)
            self._uses.inputs[name] = Input(
                name, kind, files.patterns, files.producer, position, files.table, files.partition_format
            )

    def _declared(
        self, known: Mapping[str, DeclaredT], name: str, what: str, reference: Reference, loc: Loc
    ) -> DeclaredT | None:
        if name not in known:
            self._unknown(reference, loc, f"{what} `{name}`", known)
        return known.get(name)

    def _unknown(self, reference: Reference, loc: Loc, message: str, known: Iterable[str]) -> None:
        hint = did_you_mean(reference.parts[-1] if reference.namespace != "steps" else message.split("`")[-2], known)
        self._report("BF030", message, loc, reference.source, hint)

    def _report(self, code: str, message: str, loc: Loc, needle: str, hint: str | None = None) -> None:
        self._scope.problems.add(code, message, self._scope.document, loc, needle=needle, hint=hint)
        self._scope.broken.add(loc)


def _whole(found: Found, template: bool) -> ParameterValue:
    """The value of a text that is one reference and nothing else."""
    if isinstance(found, OpenOutput):
        return f"${{outputs.{found.name}}}"
    if isinstance(found, Files):
        words = _words(found)
        found = words[0] if len(words) == 1 else [*words]
    if not template:
        return found
    if isinstance(found, list):
        return [references.escape(one) if isinstance(one, str) else one for one in found]
    return references.escape(found) if isinstance(found, str) else found


def _words(found: Found) -> list[str]:
    if isinstance(found, Files):
        return [one if found.is_dataset or not one else one.rstrip("/") or "/" for one in found.patterns]
    return [_as_text(one) for one in found] if isinstance(found, list) else [_as_text(found)]


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
