"""One table ``[datasets.NAME]`` → named files, or tables with all that is declared about them.

A source is a path or pattern, or the output of a step, which whoever reads the dataset then waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from batchflow.errors import DatasetError
from batchflow.workflow import paths, references, rules, shapes
from batchflow.workflow.diagnostics import quoted
from batchflow.workflow.document import Loc
from batchflow.workflow.scope import IN_DECLARATIONS, Filler, Scope, Uses
from batchflow.workflow.values import FileDataset, TableDataset, escape_pattern

_KEYS_OF = {
    "files": ("partition_format",),
    "table": tuple(key for key in rules.DATASET.keys if key not in ("files", "table", "partition_format")),
}
_HINTS = {
    "files": "the `partition_keys` of a table are columns of it",
    "table": "write `table` in the place of `files` to get the records in them",
}


class DatasetReader:
    """Reads one dataset; what its references lead to is noted in the scope for the steps that use it."""

    def __init__(self, name: str, table: object, scope: Scope, folder_for: Callable[[Loc], Path]) -> None:
        self._name = name
        self._table = table
        self._scope = scope
        self._folder_for = folder_for
        self._loc: Loc = ("datasets", name)
        uses = scope.uses[self._loc] = Uses()
        self._plain = Filler(scope, uses, IN_DECLARATIONS)
        self._sources = Filler(scope, uses, IN_DECLARATIONS | {"steps"})

    def read(self) -> FileDataset | TableDataset | None:
        """The dataset with absolute patterns; None when something in it was reported."""
        scope = self._scope
        good = shapes.check_name(self._name, "a dataset", scope.document, self._loc, scope.problems)
        filled = self._filled()
        shape = shapes.check_shape(rules.DATASET, filled, scope.document, self._loc, scope.problems, scope.broken)
        if shape is None:
            return None
        key = self._kind(shape.model_fields_set)
        if key is None:
            return None
        written = shape.files if key == "files" else shape.table
        patterns = None if scope.is_broken((*self._loc, key)) else self._patterns(key, written)
        if key == "files":
            is_split = self._check_partition_format(shape.partition_format)
            if patterns is None or not good or not is_split:
                return None
            return FileDataset(self._name, patterns, scope.document.deferred(self._loc), shape.partition_format)
        if patterns is None:
            return None
        from batchflow.workflow.table_keys import TableKeys

        options = TableKeys(shape, patterns, isinstance(written, list), self._report).read()
        if options is None or not good:
            return None
        return TableDataset(self._name, patterns, options, scope.document.deferred(self._loc))

    def _filled(self) -> object:
        """The table with its references filled in, but for the outputs of steps."""
        if not isinstance(self._table, dict):
            return self._table
        return {key: self._value(value, (*self._loc, key)) for key, value in self._table.items()}

    def _value(self, value: object, loc: Loc) -> object:
        if len(loc) == 3 and loc[2] in ("files", "table") and isinstance(value, list):
            return [self._value(one, (*loc, index)) for index, one in enumerate(value)]
        return value if loc[2] in ("files", "table") and _names_step(value) else self._plain.value(value, loc)

    def _kind(self, present: set[str]) -> str | None:
        """``files`` or ``table``, whichever the dataset has, if its other keys go with it."""
        kinds = [key for key in ("files", "table") if key in present]
        if not kinds:
            message = f"missing key `files` or `table` in [datasets.{self._name}]"
            self._scope.problems.add("BF013", message, self._scope.document, self._loc, part="key")
            return None
        if len(kinds) == 2:
            hint = "files: run() gets paths; table: it gets data frames"
            message = f"dataset `{self._name}` has both `files` and `table`"
            self._report("BF016", message, "table", hint, part="key")
            return None
        kind, other = (kinds[0], "table" if kinds[0] == "files" else "files")
        misplaced = [key for key in self._table if key in _KEYS_OF[other]] if isinstance(self._table, dict) else []
        for key in misplaced:
            message = f"`{key}` is for datasets with `{other}`, and dataset `{self._name}` has `{kind}`"
            self._report("BF016", message, key, _HINTS[other], part="key")
        return None if misplaced else kind

    def _patterns(self, key: str, written: object) -> tuple[str, ...] | None:
        """Absolute patterns for all that the key names; None if one of them was reported."""
        scope, loc = self._scope, (*self._loc, key)
        sources = written if isinstance(written, list) else [written]
        if not sources:
            scope.problems.add("BF011", f"`{key}`: an empty array is not allowed", scope.document, loc)
        patterns = [
            self._pattern(key, source, (*loc, index) if isinstance(written, list) else loc)
            for index, source in enumerate(sources)
        ]
        found = tuple(one for one in patterns if one is not None)
        return found if found and len(found) == len(patterns) else None

    def _pattern(self, key: str, source: object, loc: Loc) -> str | None:
        scope, is_output = self._scope, False
        if not isinstance(source, str):
            message = f"`{key}`: expected a path, a pattern or an array of them, got {quoted(source)}"
            scope.problems.add("BF010", message, scope.document, loc)
            return None
        if _names_step(source):
            files = self._sources.files(source, loc)
            if files is None:
                return None
            (source,), is_output = files.patterns, not files.is_dataset
        if not paths.check_local_path(source, f"dataset `{self._name}`", scope.document, loc, scope.problems):
            return None
        folder = self._folder_for(loc)
        return escape_pattern(paths.absolute(source, folder)) if is_output else paths.absolute_pattern(source, folder)

    def _check_partition_format(self, text: str | None) -> bool:
        if text is None:
            return True
        from batchflow.path_keys import parse_path_keys

        try:
            parse_path_keys(text)
        except DatasetError as error:
            self._report("BF011", f"`partition_format`: {error.message}", "partition_format", error.hint)
            return False
        return True

    def _report(
        self,
        code: str,
        message: str,
        key: str,
        hint: str | None = None,
        *,
        inside: int | str | None = None,
        part: Literal["key", "value"] = "value",
    ) -> None:
        loc = (*self._loc, key) if inside is None else (*self._loc, key, inside)
        self._scope.problems.add(code, message, self._scope.document, loc, part=part, hint=hint)


def _names_step(source: object) -> bool:
    """Whether a text refers to the output of a step."""
    if not isinstance(source, str):
        return False
    found = references.parse(source)
    return any(isinstance(one, references.Reference) and one.namespace == "steps" for one in found)
