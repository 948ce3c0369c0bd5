"""The DAG of a workflow as a tree, Mermaid, DOT or JSON.

Pure, but for rich, which draws the tree.  Arrows point from a step to those that wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchflow.cli.plans import JSON_VERSION
from batchflow.text import safe_text

if TYPE_CHECKING:
    from rich.tree import Tree

    from batchflow.workflow.values import Workflow


def final_steps(workflow: Workflow) -> list[str]:
    """The steps that no other step waits for, in order of the file."""
    waited_for = {name for step in workflow.steps.values() for name in step.dependencies}
    return [name for name in workflow.steps if name not in waited_for]


def graph_tree(workflow: Workflow) -> Tree:
    """Each final step with what it depends on below it; what was drawn already is marked ``(above)``, not repeated."""
    from rich.tree import Tree

    from batchflow.cli.drawing import cell

    tree = Tree(cell(workflow.name))
    drawn: set[str] = set()
    # A stack of our own: a chain of steps may be longer than Python's recursion limit.
    stack = [(tree, name) for name in reversed(final_steps(workflow))]
    while stack:
        parent, name = stack.pop()
        step = workflow.steps[name]
        repeated = name in drawn and bool(step.dependencies)
        branch = parent.add(cell(f"{name} ({step.kind})" + (" (above)" if repeated else "")))
        if not repeated:
            drawn.add(name)
            stack += [(branch, dependency) for dependency in reversed(step.dependencies)]
    return tree


def _edges(workflow: Workflow) -> list[tuple[str, str]]:
    return [(dependency, step.name) for step in workflow.steps.values() for dependency in step.dependencies]


def graph_mermaid(workflow: Workflow) -> str:
    # Numbered ids: words like "end" mean something to Mermaid.
    ids = {name: f"s{index}" for index, name in enumerate(workflow.steps)}
    lines = ["flowchart TD"]
    lines += [
        f'    {ids[name]}["{safe_text(name).replace(chr(34), "#quot;")}<br/>{step.kind}"]'
        for name, step in workflow.steps.items()
    ]
    lines += [f"    {ids[before]} --> {ids[after]}" for before, after in _edges(workflow)]
    return "\n".join(lines)


def graph_dot(workflow: Workflow) -> str:
    lines = [f"digraph {_dot_quoted(workflow.name)} {{"]
    lines += [f"  {_dot_quoted(name)} [shape=box];" for name in workflow.steps]
    lines += [f"  {_dot_quoted(before)} -> {_dot_quoted(after)};" for before, after in _edges(workflow)]
    return "\n".join([*lines, "}"])


def _dot_quoted(name: str) -> str:
    escaped = safe_text(name).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def graph_json(workflow: Workflow) -> dict[str, Any]:
    return {
        "version": JSON_VERSION,
        "workflow": str(workflow.path),
        "steps": [
            {"step": step.name, "kind": step.kind, "dependencies": list(step.dependencies)}
            for step in workflow.steps.values()
        ],
    }
