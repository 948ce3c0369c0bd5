"""The DAG of steps: cycles, and the order in which steps can run.  Pure."""

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
    rows: str | None = None
    """The output that takes the rows of a parallel step."""


def step_order(workflow: Workflow, targets: Iterable[str] = ()) -> tuple[str, ...]:
    """The steps that the targets need, each after all it depends on; otherwise in the order of the file.

    A target is a step or the path of an output, absolute or relative to the workflow's folder or the current one.
    Without targets the workflow's default ones are taken.  Raises ``UsageError`` for a target that is neither.
    """
    outputs = {name: {key: one.path for key, one in step.outputs.items()} for name, step in workflow.steps.items()}
    wanted = [target_step(outputs, workflow.folder, target) for target in tuple(targets) or workflow.default]
    needed = ancestors({name: step.dependencies for name, step in workflow.steps.items()}, wanted)
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
    """Report steps that wait for each other."""
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


def _edge(step: Node, dependency: str) -> tuple[Loc, str | None, Position | None]:
    """Where a step says that it waits for another: the location and the text to underline, or the position."""
    for one in step.inputs:
        if one.producer == dependency:
            position = one.position if "." in one.name else None
            return ("steps", step.name, "inputs", one.name), f"${{steps.{dependency}.", position
    if dependency in step.after:
        return ("steps", step.name, "after", step.after.index(dependency)), None, None
    return ("steps", step.name), None, None


def ancestors(dependencies: Mapping[str, Sequence[str]], names: Iterable[str]) -> set[str]:
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
