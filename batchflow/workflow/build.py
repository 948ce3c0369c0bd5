"""From a path to a frozen ``Workflow``: the story of reading a workflow file, in order.

Executes nothing of the user's and writes nothing.  Everything that is wrong is reported at once, but for a file that
cannot be read or parsed at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from batchflow.errors import UsageError, WorkflowError
from batchflow.redaction import hide_environment
from batchflow.workflow import graph, paths, rules, shapes
from batchflow.workflow.collisions import check_collisions
from batchflow.workflow.declarations import Declarations
from batchflow.workflow.diagnostics import Problems, quoted
from batchflow.workflow.document import Document, Tree, read_document
from batchflow.workflow.inline_secrets import note_secrets
from batchflow.workflow.overrides import apply_overrides
from batchflow.workflow.parameters import gather_given, resolve_parameters
from batchflow.workflow.presence import check_presence
from batchflow.workflow.scope import Scope
from batchflow.workflow.steps import StepReader
from batchflow.workflow.supported import without_unsupported
from batchflow.workflow.values import Step, Workflow

if TYPE_CHECKING:
    from batchflow.workflow import schema

FILE_NAMES = ("workflow.toml", "batchflow.toml")
_TABLES = ("params", "datasets", "models", "steps")


def load_workflow(
    path: str | os.PathLike[str],
    *,
    params: Mapping[str, object] | None = None,
    params_file: Path | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    caller_folder: Path | None = None,
) -> Workflow:
    """Read, check and resolve a workflow file; a folder stands for the workflow file in it.

    ``params`` are typed values, ``overrides`` the texts of ``--set``, ``environ`` defaults to this process's.
    Relative paths from outside the file start at ``caller_folder``, by default the current one.
    Raises ``WorkflowFileError`` with every fault.
    """
    caller_folder = Path.cwd() if caller_folder is None else caller_folder.absolute()
    path = Path(paths.absolute(os.fspath(path), caller_folder) or caller_folder)
    if path.is_dir():
        path = find_workflow(path)
    problems = Problems(caller_folder)
    environ = os.environ if environ is None else environ
    hide_environment(environ)
    document = read_document(path, problems)
    warnings = note_secrets(document)
    set_texts = apply_overrides(document, overrides, problems)
    tree = without_unsupported(document, problems)
    declared = tree.get("params", {})
    given = gather_given(
        declared if isinstance(declared, dict) else {},
        params_file,
        environ,
        params or {},
        set_texts,
        caller_folder,
        problems,
    )
    head = _head(tree, document, problems)
    scope = Scope(document, problems, head.name or _name_of(path))
    scope.params.update(resolve_parameters(document, declared, given, problems))
    declarations = Declarations(scope, caller_folder)
    declarations.outputs(tree)
    declarations.datasets(tree)
    declarations.models(tree)
    steps = _steps(tree, scope, declarations)
    default = _default(head, steps, scope)
    problems.raise_if_any()
    return Workflow(
        path=path,
        name=scope.name,
        default=default,
        params=MappingProxyType({name: one for name, one in scope.params.items() if one is not None}),
        datasets=MappingProxyType({name: one for name, one in scope.datasets.items() if one is not None}),
        models=MappingProxyType({name: one for name, one in scope.models.items() if one is not None}),
        steps=MappingProxyType(steps),
        warnings=warnings,
    )


def find_workflow(argument: str | os.PathLike[str] | None = None, folder: Path | None = None) -> Path:
    """The workflow file that an argument of the command line means.

    A file is itself.  A folder, or None for ``folder`` (by default the current one), is searched for
    ``workflow.toml`` and ``batchflow.toml``, then its parents.  Raises ``WorkflowError`` if there is none.
    """
    start = Path.cwd() if folder is None else folder.absolute()
    if argument is not None:
        start = Path(paths.absolute(os.fspath(argument), start) or start)
        if not start.is_dir():
            return start
    for place in (start, *start.parents):
        for name in FILE_NAMES:
            if (place / name).is_file():
                return place / name
    hint = "name the file, or make a new workflow with `batchflow init`"
    message = f"no {' or '.join(FILE_NAMES)} in {start} or above it"
    raise WorkflowError(f"{message}\nhint: {hint}", hint=hint)


def _name_of(path: Path) -> str:
    """The file's stem with what a name cannot have replaced."""
    return re.sub(r"[^a-z0-9_-]", "-", path.stem.lower())[:64] or "workflow"


def _head(tree: Tree, document: Document, problems: Problems) -> schema.HeadShape:
    head = {key: value for key, value in tree.items() if key not in _TABLES}
    shape = shapes.check_shape(rules.HEAD, head, document, (), problems)
    return shapes.empty(rules.HEAD) if shape is None else shape


def _steps(tree: Tree, scope: Scope, declarations: Declarations) -> dict[str, Step]:
    """The steps without fault, in the order of the file."""
    tables = tree.get("steps", {})
    if tables == {}:
        hint = 'add [steps.NAME] with run = "…", call = "module:function" or a table parallel'
        loc = ("steps",) if "steps" in tree else ()
        scope.problems.add("BF013", "the workflow has no steps", scope.document, loc, part="key", hint=hint)
    if not isinstance(tables, dict):
        return {}
    readers = {name: StepReader(name, table, scope, declarations) for name, table in tables.items()}
    read = {name: reader.read() for name, reader in readers.items()}
    nodes = {name: reader.node for name, reader in readers.items()}
    graph.check_graph(nodes, scope)
    check_collisions(nodes, scope)
    check_presence(nodes.values(), scope)
    return {name: step for name, step in read.items() if step is not None}


def _default(head: schema.HeadShape, steps: Mapping[str, Step], scope: Scope) -> tuple[str, ...]:
    """The default targets; where none are named, the steps that no other step waits for."""
    if head.default is None:
        needed = {one for step in steps.values() for one in step.dependencies}
        return tuple(name for name in steps if name not in needed)
    outputs = {step: {key: one.path for key, one in named.items() if one} for step, named in scope.outputs.items()}
    if any(one is None for named in scope.outputs.values() for one in named.values()):
        # The path of an output is not known: a target may be that one.
        return tuple(head.default)
    for index, target in enumerate(head.default):
        try:
            graph.target_step(outputs, scope.folder, target)
        except UsageError as error:
            message = f"no step or output {quoted(target)} to build by default"
            scope.problems.add("BF040", message, scope.document, ("default", index), hint=error.hint)
    return tuple(head.default)
