"""Outputs that would destroy or feed each other, an input or our own records: told by their paths, before any work.

An output takes more names than its own while it is made, see ``batchflow.temporary``.  Paths are compared as they are
written and with the links followed of the folders above them, as far as these exist; nothing else is asked of the disk.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batchflow.errors import DatasetError
from batchflow.temporary import partial_path, taken_paths
from batchflow.workflow import paths
from batchflow.workflow.document import Loc
from batchflow.workflow.graph import Node, ancestors
from batchflow.workflow.scope import Scope
from batchflow.workflow.values import Input, Output, Position

_ELSEWHERE = "write it elsewhere, or narrow the pattern"


@dataclass(frozen=True, eq=False)
class _Place:
    """An output with its paths: as it is written, and, where that is another one, with links followed."""

    step: str
    output: Output
    paths: tuple[Path, ...]
    keeps_name: bool

    @property
    def loc(self) -> Loc:
        return ("steps", self.step, "outputs", self.output.name)

    def temporaries(self, path: Path) -> Iterator[Path]:
        """What a pattern could match while the output ``path`` is written."""
        yield partial_path(path) / path.name if self.keeps_name else partial_path(path)
        if not self.keeps_name and not self.output.is_folder:
            yield taken_paths(path)[1]


@dataclass(frozen=True)
class _Read:
    """One path or pattern that a step reads; ``bases``: what is before the first wildcard, links followed too."""

    step: str
    what: str
    pattern: str
    bases: tuple[Path, ...]
    declared: Input | None
    """None for the entry script."""

    @property
    def at(self) -> Position | Loc | None:
        if self.declared is None:
            return ("steps", self.step, "parallel", "entry_script")
        if self.declared.kind == "dataset" or "." in self.declared.name:
            return self.declared.position
        return ("steps", self.step, "inputs", self.declared.name)


class _Index:
    """Which output a path belongs to, and which outputs lie below a folder."""

    def __init__(self, places: Sequence[_Place]) -> None:
        self._finals: dict[Path, _Place] = {}
        self._taken: dict[Path, _Place] = {}
        for place in places:
            for path in place.paths:
                self._finals.setdefault(path, place)
                for one in taken_paths(path):
                    self._taken.setdefault(one, place)
        self._sorted = sorted((str(path), number) for number, one in enumerate(places) for path in one.paths)
        self._places = places

    def owner(self, of: Iterable[Path], but: _Place | None = None) -> tuple[_Place, Path, bool] | None:
        """The output that is one of the paths or a folder above it, that path, and whether it is only a name taken."""
        candidates = [one for path in of for one in (path, *path.parents)]
        for names, is_taken in ((self._finals, False), (self._taken, True)):
            for one in candidates:
                owner = names.get(one)
                if owner is not None and owner is not but:
                    return owner, one, is_taken
        return None

    def below(self, folder: Path) -> Iterator[tuple[_Place, Path]]:
        prefix = f"{folder}/" if folder != Path("/") else "/"
        for index in range(bisect.bisect_left(self._sorted, (prefix, 0)), len(self._sorted)):
            text, number = self._sorted[index]
            if not text.startswith(prefix):
                break
            yield self._places[number], Path(text)


def check_collisions(nodes: Mapping[str, Node], scope: Scope) -> None:
    """Report outputs in conflict with each other, with inputs, or with what batchflow keeps itself."""
    places = [
        _Place(step, one, _both(one.path), not one.is_folder and (step not in nodes or one.name != nodes[step].rows))
        for step, outputs in scope.outputs.items()
        for one in outputs.values()
        if one is not None
    ]
    index = _Index(places)
    workflow, records = _followed(scope.document.path), _followed(scope.folder / ".batchflow")
    for place in places:
        _check_place(place, workflow, records, scope)
        _check_conflict(place, index, scope)
    dependencies = {name: node.dependencies for name, node in nodes.items()}
    for node in nodes.values():
        reads = _reads(node)
        before = ancestors(dependencies, [node.name]) - {node.name} if reads else set()
        for read in reads:
            if not _check_overwritten(read, index, before, scope):
                for place, temporary in _fed(read, index, before).items():
                    _report_fed(read, place, temporary, dependencies, scope)


def _both(path: Path) -> tuple[Path, ...]:
    """An output replaces a link of its own name; so only the folders above it are followed."""
    real = Path(os.path.realpath(path.parent), path.name)
    return (path,) if real == path else (path, real)


def _followed(path: Path) -> tuple[Path, ...]:
    real = Path(os.path.realpath(path))
    return (path,) if real == path else (path, real)


def _reads(node: Node) -> list[_Read]:
    """What a step reads and no reference links to the step that makes it."""
    found = [
        _Read(node.name, f"input `{one.name}`", pattern, _followed(Path(base)), one)
        for one in node.inputs
        if one.producer is None or len(one.patterns) > 1
        for pattern in one.patterns
        if (base := paths.pattern_base(pattern) if one.kind == "dataset" else pattern)
    ]
    if node.entry_script is not None:
        script = node.entry_script
        found.append(_Read(node.name, "the entry script", str(script), _followed(script), None))
    return found


def _check_place(place: _Place, workflow: Sequence[Path], records: Sequence[Path], scope: Scope) -> None:
    """An output must not replace the workflow file, a folder that holds it, or our own records."""
    name = place.output.name
    taken = {one for path in place.paths for one in (path, *taken_paths(path))}
    if any(not taken.isdisjoint((one, *one.parents)) for one in workflow):
        message = f"output `{name}` is, or contains, the workflow file"
        scope.problems.add("BF043", message, scope.document, place.loc, hint="give the output a folder of its own")
    elif any(paths.is_inside(str(path), str(one)) for path in place.paths for one in records):
        message = f"output `{name}` lies in .batchflow, where the records of runs are"
        scope.problems.add("BF043", message, scope.document, place.loc)


def _check_conflict(inner: _Place, index: _Index, scope: Scope) -> None:
    """Two outputs must not be one, lie in each other, or have a name that the other takes while it is made."""
    found = index.owner(inner.paths, but=inner)
    if found is None:
        return
    outer, path, is_taken = found
    is_same = path in inner.paths
    hint = None
    if is_taken:
        first, second = outer, inner
        what = "is the temporary name of" if is_same else "lies under the temporary name of"
        hint = f"choose another name: {_shown(path, scope)} belongs to batchflow while `{outer.output.name}` is made"
    else:
        order = list(scope.outputs)
        first, second = sorted((outer, inner), key=lambda one: order.index(one.step))
        what = "contains" if second is outer else "lies inside"
        what = "is the same path as" if is_same else what
    if not is_same or inner.output.path != outer.output.path:
        hint = hint or _link_hint(inner, outer, scope)
    owner = "the same step" if first.step == second.step else f"step `{first.step}`"
    message = f"output `{second.output.name}` of step `{second.step}` {what} output `{first.output.name}` of {owner}"
    scope.problems.add("BF042", message, scope.document, second.loc, hint=hint, other=first.loc)


def _link_hint(inner: _Place, outer: _Place, scope: Scope) -> str | None:
    """Where the two meet if that cannot be seen from how they are written."""
    if paths.is_inside(str(inner.output.path), str(outer.output.path)):
        return None
    linked = next(one for one in (inner, outer) if len(one.paths) > 1)
    return f"a symbolic link leads {_shown(linked.paths[0], scope)} to {_shown(linked.paths[-1], scope)}"


def _check_overwritten(read: _Read, index: _Index, before: set[str], scope: Scope) -> bool:
    """What a step reads must not be replaced or removed by an output; True if it was reported."""
    found = index.owner(read.bases)
    if found is None:
        return False
    place, path, is_taken = found
    whose = "" if place.step == read.step else f" of step `{read.step}`"
    hint = None
    if is_taken:
        message = f"making output `{place.output.name}` would remove {read.what}{whose}"
        hint = f"choose another name: {_shown(path, scope)} belongs to batchflow while the output is made"
    elif place.step == read.step:
        message = f"output `{place.output.name}` would overwrite {read.what}"
    elif read.declared is None or place.step in before:
        return False
    else:
        message = f"{read.what} is written by step `{place.step}`, which step `{read.step}` does not wait for"
        hint = f'write ${{steps.{place.step}.outputs.{place.output.name}}}, or add after = ["{place.step}"]'
        loc = ("steps", read.step, "inputs", read.declared.name)
        scope.problems.add("BF044", message, scope.document, loc, hint=hint, other=place.loc)
        return True
    scope.problems.add("BF043", message, scope.document, place.loc, hint=hint, other=read.at)
    return True


def _fed(read: _Read, index: _Index, before: set[str]) -> dict[_Place, Path | None]:
    """The outputs that the step would find among its input, of itself or of steps that need not run before it.

    With each the temporary name under which it would, or None if it is the final one.
    """
    found: dict[_Place, Path | None] = {}
    for base in read.bases:
        for place, path in index.below(base):
            if read.declared is None or place in found or place.step in before:
                continue
            name = _name_read(read.declared, read.pattern, place, path)
            if name is not None:
                found[place] = None if name == path else name
    return found


def _name_read(declared: Input, pattern: str, place: _Place, path: Path) -> Path | None:
    """The name, final or temporary, under which the pattern would take the output for input."""
    if declared.kind == "path":
        is_folder = pattern.endswith("/") or Path(pattern).is_dir()
        return path if is_folder else None
    try:
        from batchflow import patterns
    except ImportError:  # the core is not built: nothing can run, and the rest can be checked all the same
        return None
    try:
        parsed = patterns.parse_pattern(pattern)
    except DatasetError:  # it is reported where it is listed
        return None
    root = os.path.realpath(os.fsdecode(parsed.root_path))
    both = (parsed, replace(parsed, root=_parts(Path(root))))
    for name in (path, *place.temporaries(path)):
        *folder, last = _parts(name)
        for one in both:
            if place.output.is_folder and patterns.reaches(one, (*folder, last)):
                return name
            if not place.output.is_folder and patterns.matches(one, tuple(folder), last):
                return name
    return None


def _parts(path: Path) -> tuple[bytes, ...]:
    return tuple(os.fsencode(one) for one in path.parts[1:])


def _report_fed(
    read: _Read, place: _Place, temporary: Path | None, dependencies: Mapping[str, Sequence[str]], scope: Scope
) -> None:
    output, hint = f"output `{place.output.name}`", _ELSEWHERE
    while_made = "" if temporary is None else f" as {_shown(temporary, scope)} while it is made"
    if place.step == read.step:
        code, message = "BF043", f"{output} lies inside {read.what}{while_made}, which would read it again"
    elif read.step in ancestors(dependencies, [place.step]):
        code = "BF044"
        message = (
            f"{output} of step `{place.step}` lies inside {read.what} of step `{read.step}`{while_made}, which runs"
            " before it and would read it in the next run"
        )
    else:
        code = "BF044"
        message = (
            f"{output} of step `{place.step}` lies inside {read.what} of step `{read.step}`{while_made}, which does not"
            " wait for it"
        )
        hint = f'{_ELSEWHERE}, or add after = ["{place.step}"] to step `{read.step}`'
    scope.problems.add(code, message, scope.document, place.loc, hint=hint, other=read.at)


def _shown(path: Path, scope: Scope) -> str:
    relative = os.path.relpath(path, scope.folder)
    return str(path) if relative.startswith(os.pardir) else relative
