"""Workflows as values, without a file: short to write, complete enough to plan and run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchflow.workflow.values import Input, Output, ParallelSettings, Parameter, Position, Step, Workflow


def parameter(folder: Path, name: str, value: Any, origin: str = "default") -> Parameter:
    return Parameter(name, "int", value, value, "", origin, Position(folder / "flow.toml", 3, 9))


class Flow:
    """Builds a workflow step by step; paths are relative to ``folder``, outputs that end in ``/`` are folders."""

    def __init__(self, folder: Path, stem: str = "flow", params: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.path = folder / f"{stem}.toml"
        self.path.touch()
        self.params = {name: parameter(folder, name, value) for name, value in (params or {}).items()}
        self.steps: dict[str, Step] = {}

    def run(self, name: str, command: Any, **keys: Any) -> Flow:
        return self._add(name, "run", command=command, **keys)

    def call(self, name: str, function: str, **keys: Any) -> Flow:
        return self._add(name, "call", function=function, **keys)

    def parallel(self, name: str, settings: ParallelSettings, **keys: Any) -> Flow:
        return self._add(name, "parallel", parallel=settings, **keys)

    def change(self, name: str, **keys: Any) -> Flow:
        self.steps[name] = replace(self.steps[name], **keys)
        return self

    def build(self, *default: str) -> Workflow:
        return Workflow(
            self.path, self.path.stem, default or (list(self.steps)[-1],), self.params, {}, {}, dict(self.steps)
        )

    def _add(
        self,
        name: str,
        kind: Any,
        *,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, str] | None = None,
        after: tuple[str, ...] = (),
        params: tuple[str, ...] = (),
        **keys: Any,
    ) -> Flow:
        line = 10 * (len(self.steps) + 1)
        declared = {
            one: self._input(one, value, Position(self.path, line + 1, 1)) for one, value in (inputs or {}).items()
        }
        producers = [one.producer for one in declared.values() if one.producer is not None]
        self.steps[name] = Step(
            name=name,
            kind=kind,
            help="",
            inputs=declared,
            outputs={
                one: Output(one, self.folder / text.rstrip("/"), text.endswith("/"), Position(self.path, line + 2, 1))
                for one, text in (outputs or {}).items()
            },
            after=after,
            dependencies=tuple(one for one in self.steps if one in {*producers, *after}),
            params=params,
            position=Position(self.path, line, 1),
            **keys,
        )
        return self

    def _input(self, name: str, value: Any, position: Position) -> Input:
        """``"step.output"``, a path, or a list of patterns."""
        if isinstance(value, list):
            return Input(name, "dataset", tuple(str(self.folder / one) for one in value), None, position)
        step, _, output = value.partition(".")
        if step in self.steps and output in self.steps[step].outputs:
            made = self.steps[step].outputs[output]
            return Input(name, "path", (f"{made.path}{'/' * made.is_folder}",), step, position)
        return Input(name, "path", (str(self.folder / value),), None, position)
