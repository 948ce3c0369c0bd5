"""One table of the file → one ``Step``: references filled in, files found, code checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from batchflow.workflow import graph, names, paths, rules, shapes
from batchflow.workflow.declarations import Declarations
from batchflow.workflow.diagnostics import did_you_mean, quoted
from batchflow.workflow.document import Loc, Tree
from batchflow.workflow.parallel_step import read_parallel, script_path
from batchflow.workflow.scope import IN_INPUTS, IN_SETTINGS, IN_TEMPLATES, Filler, Scope, Uses
from batchflow.workflow.values import Input, Position, Step, Template

KINDS: tuple[Literal["run", "call", "parallel"], ...] = ("run", "call", "parallel")


class StepReader:
    """Reads one step; ``read`` returns None when something in it was reported."""

    def __init__(self, name: str, table: object, scope: Scope, declarations: Declarations) -> None:
        self._name = name
        self._table: Tree = table if isinstance(table, dict) else {}
        self._source = table
        self._scope = scope
        self._declarations = declarations
        self._loc: Loc = ("steps", name)
        self._uses = Uses()
        self._outputs = scope.outputs.get(name, {})
        self._datasets: dict[str, str] = {}
        """Inputs that are datasets, by name."""
        self.node = graph.Node(name)
        """What is known of the step even if something in it is wrong."""

    def read(self) -> Step | None:
        scope = self._scope
        shapes.check_name(self._name, "a step", scope.document, self._loc, scope.problems)
        inputs = self._inputs()
        settings = Filler(scope, self._uses, IN_SETTINGS, inputs)
        templates = Filler(scope, self._uses, IN_TEMPLATES, inputs, self._outputs)
        filled = self._filled(settings, templates)
        source = filled if isinstance(self._source, dict) else self._source
        shape = shapes.check_shape(rules.STEP, source, scope.document, self._loc, scope.problems, scope.broken)
        kind = self._kind()
        command = self._command(filled["run"], templates) if "run" in filled else None
        after = self._after()
        self._uses.steps |= set(after)
        good_inputs = {key: one for key, one in inputs.items() if one is not None}
        outputs = {key: one for key, one in self._outputs.items() if one is not None}
        all_inputs = good_inputs | self._uses.inputs
        dependencies = tuple(step for step in scope.outputs if step in self._uses.steps)
        code = self._check_code(filled)
        self.node = graph.Node(
            self._name, tuple(all_inputs.values()), tuple(outputs.values()), after, dependencies, code
        )
        if shape is None or kind is None:
            return None
        parallel = None
        if shape.parallel is not None and len(good_inputs) == len(inputs) and len(outputs) == len(self._outputs):
            parallel = read_parallel(shape.parallel, self._name, good_inputs, outputs, scope, self._declarations)
            self.node = replace(self.node, rows=None if parallel is None else parallel.append_row_to)
        return Step(
            name=self._name,
            kind=kind,
            help=shape.help,
            inputs=MappingProxyType(all_inputs),
            outputs=MappingProxyType(outputs),
            after=after,
            dependencies=dependencies,
            params=tuple(sorted(self._uses.params)),
            command=command,
            function=shape.call,
            args=MappingProxyType(self._checked_args(shape.args)),
            parallel=parallel,
            position=scope.document.deferred(self._loc),
            key_positions=MappingProxyType(self._key_positions()),
        )

    def _inputs(self) -> dict[str, Input | None]:
        declared = self._table.get("inputs")
        named = declared if isinstance(declared, dict) else {}
        filler = Filler(self._scope, self._uses, IN_INPUTS)
        return {name: self._input(name, source, filler) for name, source in named.items()}

    def _input(self, name: str, source: object, filler: Filler) -> Input | None:
        scope, loc = self._scope, (*self._loc, "inputs", name)
        if not isinstance(source, str) or not source or not names.is_name(name):
            return None
        files = filler.files(source, loc)
        if files is None:
            return None
        what, folder = f"input `{name}`", self._declarations.folder_for(loc)
        for pattern in files.patterns:
            if not paths.check_local_path(pattern, what, scope.document, loc, scope.problems):
                return None
        make = paths.absolute_pattern if files.is_dataset else paths.absolute
        patterns = tuple(make(pattern, folder) for pattern in files.patterns)
        kind: Literal["path", "dataset"] = "dataset" if files.is_dataset else "path"
        if files.dataset is not None:
            self._datasets[name] = files.dataset
        position = files.position or scope.document.deferred(loc)
        return Input(name, kind, patterns, files.producer, position, files.table, files.partition_format)

    def _filled(self, settings: Filler, templates: Filler) -> Tree:
        """The step's table with values for references where a value is needed, and templates where one may be open.

        ``inputs`` and ``outputs`` are left as they are: only their shape is still to be checked.
        """
        filled: Tree = {}
        for key, value in self._table.items():
            loc: Loc = (*self._loc, key)
            if key == "args":
                filled[key] = templates.value(value, loc, template=True)
            elif key == "parallel" and isinstance(value, dict):
                filled[key] = {one: self._setting(one, source, settings, templates) for one, source in value.items()}
            else:
                filled[key] = value
        self._uses.params |= self._params_of_outputs()
        return filled

    def _setting(self, key: str, source: Any, settings: Filler, templates: Filler) -> Any:  # noqa: ANN401
        loc: Loc = (*self._loc, "parallel", key)
        if key == "arguments" and isinstance(source, list) and all(isinstance(one, str) for one in source):
            return list(templates.words(source, loc))
        if key == "environment_variables" and isinstance(source, dict):
            values = {name: settings.value(one, (*loc, name)) for name, one in source.items()}
            return {name: _as_variable(one, source[name]) for name, one in values.items()}
        return settings.value(source, loc)

    def _params_of_outputs(self) -> set[str]:
        """The parameters that the paths of the step's own outputs use."""
        declared = [self._scope.uses.get((*self._loc, "outputs", name)) for name in self._outputs]
        return {name for uses in declared if uses is not None for name in uses.params}

    def _kind(self) -> Literal["run", "call", "parallel"] | None:
        scope = self._scope
        present = [kind for kind in KINDS if kind in self._table]
        if len(present) != 1:
            message = f"step `{self._name}` needs exactly one of `run`, `call` and the table `parallel`"
            if present:
                message += f", and has {' and '.join(f'`{kind}`' for kind in present)}"
            scope.problems.add("BF016", message, scope.document, self._loc, part="key")
            return None
        if "args" in self._table and present[0] != "call":
            hint = "write the values into the command" if present[0] == "run" else "use `arguments` in `parallel`"
            message = f"`args` is for `call` steps, and step `{self._name}` has `{present[0]}`"
            scope.problems.add("BF016", message, scope.document, (*self._loc, "args"), part="key", hint=hint)
        return present[0]

    def _command(self, source: object, templates: Filler) -> str | tuple[str, ...] | None:
        scope, loc = self._scope, (*self._loc, "run")
        if isinstance(source, str) and source.strip():
            if "\0" not in source:
                return templates.command(source, loc)
        elif isinstance(source, list) and source and all(isinstance(one, str) for one in source):
            return templates.words(source, loc)
        message = f"`run`: expected a command, or an array of its words, got {quoted(source)}"
        hint = "every word is a string: put numbers in quotes" if isinstance(source, list) and source else None
        scope.problems.add("BF010", message, scope.document, loc, hint=hint)
        return None

    def _check_code(self, filled: Tree) -> Path | None:
        """Look at the code that the step names, as far as it does; the entry script's path if it has one."""
        call, parallel = filled.get("call"), filled.get("parallel")
        if call is None and parallel is None:
            return None
        from batchflow.workflow import scripts

        loc: Loc = (*self._loc, "call")
        script = None
        try:
            if isinstance(call, str) and names.is_call(call):
                scripts.check_call(call, self._scope.folder)
            elif isinstance(parallel, dict):
                loc = (*self._loc, "parallel", "entry_script")
                script = self._entry_script(parallel)
                if script is not None:
                    scripts.check_entry_script(script, os.path.relpath(script, self._scope.folder))
        except scripts.ScriptFault as fault:
            self._scope.problems.add(fault.code, fault.message, self._scope.document, loc, hint=fault.hint)
        return script

    def _entry_script(self, parallel: Tree) -> Path | None:
        """Its path, if it is written as one; what is not is reported with the shape of the table."""
        folder, script = parallel.get("source_directory", "."), parallel.get("entry_script")
        if not isinstance(folder, str) or not isinstance(script, str) or not script:
            return None
        if any((*self._loc, "parallel", key) in self._scope.broken for key in ("entry_script", "source_directory")):
            return None
        path = script_path(script, folder, self._loc, self._declarations)
        loc: Loc = (*self._loc, "parallel", "source_directory")
        if folder != "." and not Path(paths.absolute(folder, self._declarations.folder_for(loc))).is_dir():
            message = f"source_directory {folder} is not a folder"
            self._scope.problems.add("BF051", message, self._scope.document, loc)
            return None
        return path

    def _after(self) -> tuple[str, ...]:
        """The steps named by ``after`` that exist; the others are reported."""
        known, declared = self._scope.outputs, self._table.get("after")
        named = [one for one in declared if isinstance(one, str)] if isinstance(declared, list) else []
        for index, step in enumerate(named):
            if step not in known:
                loc = (*self._loc, "after", index)
                hint = did_you_mean(step, known)
                self._scope.problems.add("BF040", f"no step `{step}`", self._scope.document, loc, hint=hint)
        return tuple(dict.fromkeys(step for step in named if step in known))

    def _checked_args(self, args: Mapping[str, Any]) -> dict[str, Template]:
        for loc, value in _leaves(args, (*self._loc, "args")):
            if not isinstance(value, (bool, int, float, str)):
                message = "a date or a time cannot be an argument"
                self._scope.problems.add("BF010", message, self._scope.document, loc, hint="put it in quotes")
        return dict(args)

    def _key_positions(self) -> dict[str, Position]:
        document = self._scope.document
        found = {key: document.deferred((*self._loc, key)) for key in self._table}
        for table in ("inputs", "outputs", "args", "parallel"):
            keys = self._table.get(table)
            for key in keys if isinstance(keys, dict) else ():
                found[f"{table}.{key}"] = document.deferred((*self._loc, table, key))
        for name, dataset in self._datasets.items():
            for key in document.tree["datasets"][dataset]:
                found[f"inputs.{name}.{key}"] = document.deferred(("datasets", dataset, key))
        return found


def _as_variable(value: object, source: object) -> object:
    """A number that came from a reference, as the text that a variable must be."""
    if isinstance(source, str) and isinstance(value, (bool, int, float)):
        return ("true" if value else "false") if isinstance(value, bool) else str(value)
    return value


def _leaves(value: object, loc: Loc) -> list[tuple[Loc, object]]:
    if isinstance(value, Mapping):
        return [leaf for key, one in value.items() for leaf in _leaves(one, (*loc, key))]
    if isinstance(value, list):
        return [leaf for index, one in enumerate(value) for leaf in _leaves(one, (*loc, index))]
    return [(loc, value)]
