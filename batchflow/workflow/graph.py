"""The DAG of steps: conflicts, cycles, the order in which steps can run.  Pure but for the paths it compares."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchflow.errors import UsageError
from batchflow.text import safe_text
from batchflow.workflow import paths
from batchflow.workflow.diagnostics import did_you_mean
from batchflow.workflow.document import Loc
from batchflow.workflow.scope import Scope
from batchflow.workflow.values import Input, Output, Position, Workflow


@dataclass(frozen=True)
class Node:
    """What the graph needs of a step; known even when something else in the step is wrong."""

    name: str
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    after: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    entry_script: Path | None = None


def step_order(workflow: Workflow, targets: Iterable[str] = ()) -> tuple[str, ...]:
    """The steps that the targets need, each after all it depends on; otherwise in the order of the file.

    A target is a step or the path of an output, absolute or relative to the workflow's folder or the current one.
    Without targets the workflow's default ones are taken.  Raises ``UsageError`` for a target that is neither.
    """
    outputs = {name: {key: one.path for key, one in step.outputs.items()} for name, step in workflow.steps.items()}
    wanted = [target_step(outputs, workflow.folder, target) for target in tuple(targets) or workflow.default]
    needed = _ancestors({name: step.dependencies for name, step in workflow.steps.items()}, wanted)
    return tuple(_sorted({name: step.dependencies for name, step in workflow.steps.items() if name in needed}))


def target_step(outputs: Mapping[str, Mapping[str, Path]], folder: Path, target: str) -> str:
    """The step that a target means, of those with these outputs by name; ``UsageError`` if there is none."""
    if target in outputs:
        return target
    candidates = {paths.absolute(target, base).rstrip("/") for base in (folder, Path.cwd())}
    for step, written in outputs.items():
        if any(str(path) in candidates for path in written.values()):
            return step
    hint = _nearest_target(outputs, folder, target)
    raise UsageError(safe_text(f"no step or output `{target}`"), hint=safe_text(hint))


def _nearest_target(outputs: Mapping[str, Mapping[str, Path]], folder: Path, target: str) -> str:
    """What may have been meant by a target that is none."""
    for step, written in outputs.items():
        if target in written:
            path = os.path.relpath(written[target], folder)
            return f"`{target}` is the name of an output: write its step `{step}`, or its path `{path}`"
    shown = [os.path.relpath(path, folder) for written in outputs.values() for path in written.values()]
    return did_you_mean(target, [*outputs, *shown]) or f"steps: {', '.join(outputs)}"


def find_cycle(dependencies: Mapping[str, Sequence[str]]) -> tuple[str, ...] | None:
    """A shortest cycle through the first step that is in one, ``(a, b, a)``; None if there is none."""
    stuck = set(dependencies) - set(_sorted(dependencies))
    for start in dependencies:
        if start not in stuck:
            continue
        came_from: dict[str, str] = {}
        waiting = [start]
        for name in waiting:
            for one in dependencies[name]:
                if one == start:
                    return _path_back(start, name, came_from)
                if one in stuck and one not in came_from:
                    came_from[one] = name
                    waiting.append(one)
    return None


def _path_back(start: str, last: str, came_from: Mapping[str, str]) -> tuple[str, ...]:
    names = [start, last] if last != start else [start]
    while names[-1] != start:
        names.append(came_from[names[-1]])
    if len(names) == 1:
        names.append(start)
    return tuple(reversed(names))


def check_graph(nodes: Mapping[str, Node], scope: Scope) -> None:
    """Report cycles, outputs in conflict, and inputs that are read without waiting for the step that writes them."""
    dependencies = {name: node.dependencies for name, node in nodes.items()}
    cycle = find_cycle(dependencies)
    if cycle is not None:
        names = [f"`{name}`" for name in cycle]
        shown = names if len(names) <= 12 else [*names[:8], f"… {len(names) - 10} more …", *names[-2:]]
        message = "steps wait for each other: " + " → ".join(shown)
        if len(cycle) == 2:
            message = f"step `{cycle[0]}` waits for itself"
        loc, needle, position = _edge(nodes[cycle[0]], cycle[1])
        scope.problems.add("BF041", message, scope.document, loc, needle=needle, position=position)
    outputs = _check_outputs(scope)
    for node in nodes.values():
        _check_reads(node, outputs, dependencies, scope)
        _check_overwrites(node, scope)


def _edge(step: Node, dependency: str) -> tuple[Loc, str | None, Position | None]:
    """Where a step says that it waits for another: the location and the text to underline, or the position."""
    for one in step.inputs:
        if one.producer == dependency:
            position = one.position if "." in one.name else None
            return ("steps", step.name, "inputs", one.name), f"${{steps.{dependency}.", position
    if dependency in step.after:
        return ("steps", step.name, "after", step.after.index(dependency)), None, None
    return ("steps", step.name), None, None


def _check_outputs(scope: Scope) -> list[tuple[str, Output]]:
    """All outputs with their steps, by path; an output inside another one is reported."""
    found = [(step, one) for step, outputs in scope.outputs.items() for one in outputs.values() if one is not None]
    found.sort(key=lambda pair: pair[1].path.parts)
    order = list(scope.outputs)
    open_outputs: list[tuple[str, Output]] = []
    for step, output in found:
        while open_outputs and not paths.is_inside(str(output.path), str(open_outputs[-1][1].path)):
            open_outputs.pop()
        if open_outputs:
            pair = sorted((open_outputs[-1], (step, output)), key=lambda one: order.index(one[0]))
            _report_conflict(pair[0], pair[1], scope)
        open_outputs.append((step, output))
        _check_place(step, output, scope)
    return found


def _report_conflict(first: tuple[str, Output], second: tuple[str, Output], scope: Scope) -> None:
    (first_step, first_output), (second_step, second_output) = first, second
    if first_output.path == second_output.path:
        what = "is the same path as"
    elif paths.is_inside(str(second_output.path), str(first_output.path)):
        what = "lies inside"
    else:
        what = "contains"
    owner = "the same step" if first_step == second_step else f"step `{first_step}`"
    message = f"output `{second_output.name}` of step `{second_step}` {what} output `{first_output.name}` of {owner}"
    loc = ("steps", second_step, "outputs", second_output.name)
    scope.problems.add("BF042", message, scope.document, loc)


def _check_place(step: str, output: Output, scope: Scope) -> None:
    """An output must not replace the workflow file, a folder that holds it, or our own records."""
    path, loc = str(output.path), ("steps", step, "outputs", output.name)
    if paths.is_inside(str(scope.document.path), path):
        message = f"output `{output.name}` is, or contains, the workflow file"
        scope.problems.add("BF043", message, scope.document, loc, hint="give the output a folder of its own")
    elif paths.is_inside(path, str(scope.folder / ".batchflow")):
        message = f"output `{output.name}` lies in .batchflow, where the records of runs are"
        scope.problems.add("BF043", message, scope.document, loc)


def _check_overwrites(step: Node, scope: Scope) -> None:
    """A step's outputs must not be, or contain, what it reads or executes."""
    read = [(f"input `{one.name}`", pattern) for one in step.inputs if one.producer is None for pattern in one.patterns]
    if step.entry_script is not None:
        read.append(("the entry script", str(step.entry_script)))
    for output in step.outputs:
        for what, pattern in read:
            base = paths.pattern_base(pattern)
            is_deep = pattern.endswith("/") or "**" in pattern
            message = None
            if paths.is_inside(base, str(output.path)):
                message = f"output `{output.name}` would overwrite {what}"
            elif is_deep and output.is_folder and paths.is_inside(str(output.path), base):
                message = f"output `{output.name}` lies inside {what}, which would read it again"
            if message is not None:
                loc = ("steps", step.name, "outputs", output.name)
                scope.problems.add("BF043", message, scope.document, loc)


def _check_reads(
    step: Node, outputs: Sequence[tuple[str, Output]], dependencies: Mapping[str, Sequence[str]], scope: Scope
) -> None:
    """A step that reads what another one writes must wait for it."""
    plain = [one for one in step.inputs if one.producer is None]
    if not plain:
        return
    waits_for = _ancestors(dependencies, [step.name])
    for one in plain:
        for pattern in one.patterns:
            base = paths.pattern_base(pattern) if one.kind == "dataset" else pattern.rstrip("/")
            writer = next((pair for pair in outputs if paths.is_inside(base, str(pair[1].path))), None)
            if writer is None or writer[0] in waits_for:
                continue
            name, output = writer
            message = f"input `{one.name}` is written by step `{name}`, which step `{step.name}` does not wait for"
            hint = f'write ${{steps.{name}.outputs.{output.name}}}, or add after = ["{name}"]'
            scope.problems.add("BF044", message, scope.document, ("steps", step.name, "inputs", one.name), hint=hint)


def _ancestors(dependencies: Mapping[str, Sequence[str]], names: Iterable[str]) -> set[str]:
    """The names and all they depend on."""
    found, waiting = set(names), list(names)
    while waiting:
        for one in dependencies.get(waiting.pop(), ()):
            if one not in found:
                found.add(one)
                waiting.append(one)
    return found


def _sorted(dependencies: Mapping[str, Sequence[str]]) -> list[str]:
    """The names in an order in which each follows what it depends on; those in or behind a cycle are left out."""
    done: list[str] = []
    missing = {name: len(set(needs) & dependencies.keys()) for name, needs in dependencies.items()}
    dependants: dict[str, list[str]] = {name: [] for name in dependencies}
    for name, needs in dependencies.items():
        for one in set(needs) & dependencies.keys():
            dependants[one].append(name)
    rank = {name: index for index, name in enumerate(dependencies)}
    ready = [rank[name] for name, count in missing.items() if count == 0]
    names = list(dependencies)
    heapq.heapify(ready)
    while ready:
        name = names[heapq.heappop(ready)]
        done.append(name)
        for one in dependants[name]:
            missing[one] -= 1
            if missing[one] == 0:
                heapq.heappush(ready, rank[one])
    return done
