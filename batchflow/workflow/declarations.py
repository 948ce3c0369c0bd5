"""Datasets, models and the outputs of steps: what the file declares, with absolute paths.

A relative path starts at the folder of the file, or at the caller's when it came from ``--set``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from batchflow.workflow import names, paths, rules, shapes
from batchflow.workflow.datasets import DatasetReader
from batchflow.workflow.diagnostics import quoted
from batchflow.workflow.document import Loc, Tree
from batchflow.workflow.scope import IN_DECLARATIONS, Filler, Scope, Uses
from batchflow.workflow.values import Model, Output


class Declarations:
    """Reads the tables that references lead to, into ``scope``."""

    def __init__(self, scope: Scope, caller_folder: Path) -> None:
        self._scope = scope
        self._caller_folder = caller_folder

    def folder_for(self, loc: Loc) -> Path:
        """Where a relative path at this location starts."""
        overridden = self._scope.document.origin_of(loc) is not None
        return self._caller_folder if overridden else self._scope.folder

    def datasets(self, tree: Tree) -> None:
        for name, table in self._section(tree, "datasets").items():
            self._scope.datasets[name] = DatasetReader(name, table, self._scope, self.folder_for).read()

    def models(self, tree: Tree) -> None:
        for name, table in self._section(tree, "models").items():
            self._scope.models[name] = self._model(name, table)

    def outputs(self, tree: Tree) -> None:
        """The outputs of all steps, whatever else is wrong with them."""
        for step, table in self._section(tree, "steps").items():
            declared = table.get("outputs") if isinstance(table, dict) else None
            named = declared if isinstance(declared, dict) else {}
            self._scope.outputs[step] = {name: self._output(step, name, source) for name, source in named.items()}

    def _section(self, tree: Tree, key: str) -> Mapping[str, object]:
        section = tree.get(key, {})
        if isinstance(section, dict):
            return section
        message = f"expected a table for `{key}`, got {quoted(section)}"
        self._scope.problems.add("BF010", message, self._scope.document, (key,))
        return {}

    def _filled(self, table: object, loc: Loc) -> object:
        """The table with its references filled in; what it uses is noted for those who refer to it."""
        uses = self._scope.uses[loc] = Uses()
        return Filler(self._scope, uses, IN_DECLARATIONS).value(table, loc)

    def _model(self, name: str, table: object) -> Model | None:
        scope, loc = self._scope, ("models", name)
        good = shapes.check_name(name, "a model", scope.document, loc, scope.problems)
        filled = self._filled(table, loc)
        shape = shapes.check_shape(rules.MODEL, filled, scope.document, loc, scope.problems, scope.broken)
        path_loc: Loc = (*loc, "path")
        if shape is None or not good or self._scope.is_broken(path_loc):
            return None
        if not paths.check_local_path(shape.path, f"model `{name}`", scope.document, path_loc, scope.problems):
            return None
        path = Path(paths.absolute(shape.path, self.folder_for(path_loc)))
        tags = MappingProxyType(dict(shape.tags))
        return Model(name, path, shape.sha256, shape.version, tags, scope.document.deferred(loc))

    def _output(self, step: str, name: str, source: object) -> Output | None:
        """An output with its path; its shape and its name are checked with those of the step."""
        scope, loc = self._scope, ("steps", step, "outputs", name)
        text = self._filled(source, loc)
        if not isinstance(text, str) or not text or self._scope.is_broken(loc) or not names.is_name(name):
            return None
        if not paths.check_local_path(text, f"output `{name}`", scope.document, loc, scope.problems):
            return None
        if paths.is_pattern(text) and isinstance(source, str) and paths.is_pattern(source):
            hint = "declare the folder, with `/` at the end"
            message = f"output `{name}` is a pattern; an output is one file or one folder"
            scope.problems.add("BF011", message, scope.document, loc, hint=hint)
            return None
        path = paths.absolute(text, self.folder_for(loc))
        return Output(name, Path(path), path.endswith("/"), scope.document.deferred(loc))
