"""What a step is made from, as plain JSON values that can be compared with those of its last success.

```
settings  the declaration: command, function, args, the keys of `parallel` that matter, patterns of inputs, outputs
params    the values of the parameters it uses, to explain a changed setting
inputs    name → what was found there: size and mtime of a file, digest and count of a listing
code      file → digest, null for a file that the step itself made
upstream  step → id of the run that made what this step read
```

Paths below the workflow's folder are stored relative to it, so that the folder can be moved.  Reads the disk, changes
nothing.  Secrets do not get in: in their place stand fingerprints, and for the values of all environment variables
digests.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import shlex
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from batchflow._core import Listing
from batchflow.errors import DatasetError
from batchflow.redaction import asks_for_secret, fingerprint, fingerprinted, names_secret
from batchflow.runner.code import CodeReader
from batchflow.runner.contents import content_of, contents
from batchflow.workflow.references import DOLLAR, escape, readable
from batchflow.workflow.values import Input, Output, ParallelSettings, Step, Workflow

NEVER_STALE = frozenset(
    {
        "workers",
        "error_threshold",
        "mini_batch_error_threshold",
        "allowed_failed_percent",
        "run_invocation_timeout_s",
        "init_timeout_s",
        "progress_update_timeout_s",
        "run_max_try",
        "isolate_failures",
        "max_items_per_worker",
        "worker_memory",
        "durability",
        "logging_level",
        "allow_reuse",
    }
)
"""Fields of ``ParallelSettings`` that say how a step is run, not what it makes."""

ListFiles = Callable[[tuple[str, ...]], Listing]


class Observer:
    """Looks at inputs and outputs, at each of them once; ``forget`` after something has run."""

    def __init__(self, folder: Path, list_files: ListFiles | None = None) -> None:
        """``folder``: the workflow's; listings of files below it are the same wherever it lies."""
        self._workflow_folder = folder
        self._list_files = list_files
        self._seen: dict[tuple[str, ...], dict[str, Any]] = {}
        self._listings: dict[tuple[str, ...], Listing] = {}
        self.list_s = 0.0
        """How long listing has taken, all in all."""

    def forget(self) -> None:
        self._seen.clear()
        self._listings.clear()

    def listing_of(self, declared: Input) -> Listing | None:
        """The listing behind what was last seen of an input, so that what is signed is what is run."""
        return self._listings.get(declared.listing_patterns)

    def look_at_input(self, declared: Input) -> dict[str, Any]:
        """Raises ``DatasetError`` if a dataset matches nothing or cannot be listed."""
        if declared.kind == "path":
            return self.look_at(Path(declared.patterns[0]))
        return self._listing(declared.patterns, "files")

    def look_at(self, path: Path) -> dict[str, Any]:
        """``{"kind": "missing"}``, or what tells one state of a file or folder from another."""
        try:
            info = path.stat()
        except (OSError, ValueError):
            return {"kind": "missing"}
        if stat.S_ISDIR(info.st_mode):
            with os.scandir(path) as entries:
                if next(entries, None) is None:
                    return {"kind": "folder", "count": 0, "digest": ""}
            return self._folder(path)
        return {"kind": "file", "size": info.st_size, "mtime_ns": info.st_mtime_ns}

    def _folder(self, path: Path) -> dict[str, Any]:
        try:
            return self._listing((glob.escape(str(path)) + "/",), "folder")
        except DatasetError:
            # Good enough as a dataset or not (hidden files only, links that lead out), a change must be seen.
            return _walked(path)

    def keep_outputs(self, outputs: Mapping[str, Output]) -> dict[str, Any]:
        """The outputs as a step has just left them, with digests of their contents unless they are too large."""
        found = {name: dict(self.look_at(output.path)) for name, output in outputs.items()}
        for name, content in contents({name: output.path for name, output in outputs.items()}).items():
            found[name]["content"] = content
        return found

    def look_at_outputs(self, outputs: Mapping[str, Output], kept: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs as they are now; one that is as it was ``kept``, though touched, counts as that one."""
        found = {}
        for name, output in outputs.items():
            state, old = self.look_at(output.path), kept.get(name)
            found[name] = dict(old) if old is not None and _is_as_kept(output.path, state, old) else state
        return found

    def _listing(self, patterns: tuple[str, ...], kind: str) -> dict[str, Any]:
        seen = self._seen.get(patterns)
        if seen is None:
            if self._list_files is None:
                from batchflow.data import list_files

                self._list_files = list_files
            begun_s = time.monotonic()
            listing = self._list_files(patterns)
            seen = {"count": listing.item_count, "digest": listing.digest(os.fsencode(self._workflow_folder)).hex()}
            self._seen[patterns] = seen
            self._listings[patterns] = listing
            self.list_s += time.monotonic() - begun_s
        return {"kind": kind, **seen}


def sign(
    step: Step,
    workflow: Workflow,
    *,
    observer: Observer,
    code: CodeReader,
    upstream: Mapping[str, str],
    unknown_inputs: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """The signature of a step as things stand now; ``unknown_inputs`` are not looked at and left out."""
    values = {name: workflow.params[name].value for name in step.params if name in workflow.params}
    conceal = _Concealer(values)
    pattern = _portable_path(workflow.folder)
    return {
        "settings": {key: conceal(key, value) for key, value in settings_of(step, workflow.folder).items()},
        "params": {name: conceal(name, _portable(value, pattern)) for name, value in values.items()},
        "inputs": {
            name: observer.look_at_input(declared)
            for name, declared in step.inputs.items()
            if name not in unknown_inputs
        },
        "code": code_of(step, workflow, code),
        "upstream": dict(upstream),
    }


class _Concealer:
    """Puts fingerprints in the place of secrets, the same for a parameter and wherever its value was inserted."""

    def __init__(self, params: Mapping[str, object]) -> None:
        self._secrets = tuple(value for name, value in params.items() if names_secret(name) and isinstance(value, str))

    def __call__(self, name: str, value: object) -> object:
        """``value`` of the parameter or setting ``name``, plain JSON."""
        if isinstance(value, Mapping):
            return {key: self(str(key), one) for key, one in value.items()}
        if isinstance(value, list):
            words = zip(["", *value], value, strict=False)
            return [
                fingerprint(one) if isinstance(one, str) and asks_for_secret(before) else self(name, one)
                for before, one in words
            ]
        if not isinstance(value, str) or not value:
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            return fingerprint(str(value)) if is_number and names_secret(name) else value
        is_path = name.startswith(("inputs.", "outputs."))
        if names_secret(name) and not is_path:
            return fingerprint(value)
        text = readable(value) if DOLLAR in value else value
        return value if (hidden := fingerprinted(text, self._secrets)) == text else escape(hidden)


def settings_of(step: Step, folder: Path) -> dict[str, Any]:
    """Every declared value that decides what the step makes; keys as in the file, dotted below the step."""
    found: dict[str, Any] = {"kind": step.kind}
    if step.kind == "run":
        found["run"] = _unquoted(step.command, folder) if isinstance(step.command, str) else list(step.command or ())
    if step.kind == "call":
        found["call"] = step.function
    found |= {f"args.{name}": value for name, value in step.args.items()}
    if step.parallel is not None:
        found |= _parallel_settings(step.parallel)
    found |= {f"inputs.{name}": list(declared.patterns) for name, declared in step.inputs.items()}
    for name, declared in step.inputs.items():
        found |= {f"inputs.{name}.{key}": value for key, value in _options_of(declared).items()}
    found |= {f"outputs.{name}": f"{one.path}{'/' * one.is_folder}" for name, one in step.outputs.items()}
    pattern = _portable_path(folder)
    return {key: _portable(value, pattern) for key, value in found.items()}


def _options_of(declared: Input) -> dict[str, Any]:
    """What a dataset says about the items in its files."""
    if declared.table is not None:
        return declared.table.as_json()
    return {} if declared.partition_format is None else {"partition_format": declared.partition_format}


def output_places(signature: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Where the outputs lay when the step was signed, which need not be where they are declared now."""
    return {
        key.partition(".")[2]: folder / str(value).rstrip("/")
        for key, value in signature["settings"].items()
        if key.startswith("outputs.")
    }


def code_of(step: Step, workflow: Workflow, code: CodeReader) -> dict[str, str]:
    """File → digest of the code that the step runs, as far as it lies beside the workflow or the script."""
    folder = workflow.folder
    if step.parallel is not None:
        script = step.parallel.entry_script
        return code.script(script, _distinct(script.parent, step.parallel.source_directory, folder))
    if step.function is not None:
        return code.module(step.function.partition(":")[0], [folder])
    if step.command is not None:
        declared = [Path(pattern) for one in step.inputs.values() for pattern in one.patterns]
        return code.command(_readable(step.command), [*declared, *(output.path for output in step.outputs.values())])
    return {}


def settle_code(
    before: Mapping[str, Any], after: Mapping[str, Any], old: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The code to record for a ``run`` step, and the files named in its command that changed while it ran.

    A file that appeared, now or in an earlier run (``old``), is the step's own and never counts.  One that changed was
    most likely written by the step, a log: it counts as it is now, or the step would never be up to date.  A Python
    file that changed was edited: it counts as it was.
    """
    own = (set(after) - set(before)) | {name for name, digest in old.items() if digest is None}
    changed = {
        name: digest
        for name, digest in after.items()
        if name not in own and not name.endswith(".py") and before[name] != digest
    }
    return {**before, **changed, **dict.fromkeys(own)}, sorted(changed)


def input_is_missing(declared: Input, observer: Observer) -> str | None:
    """Why an input cannot be read; None if it can."""
    try:
        found = observer.look_at_input(declared)
    except DatasetError as error:
        return error.message
    return f"it does not exist, path={declared.patterns[0]}" if found["kind"] == "missing" else None


def _parallel_settings(settings: ParallelSettings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(settings):
        if field.name not in NEVER_STALE:
            value = getattr(settings, field.name)
            if field.name == "over" and len(value) == 1:
                value = value[0]
            if field.name == "environment_variables":
                value = {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in value.items()}
            found[f"parallel.{field.name}"] = value
    # As in the file, where these have one key, and another name.
    found["parallel.as"] = found.pop("parallel.frame")
    unit = found.pop("parallel.mini_batch_unit")
    if unit != "items":
        found["parallel.mini_batch_size"] = f"{settings.mini_batch_size} {unit}"
    return found


def _unquoted(command: str, folder: Path) -> str:
    """The command without the quotes that its paths have only because of what the workflow's folder is called."""
    if shlex.quote(str(folder)) == str(folder):
        return command
    return re.sub(rf"'({re.escape(str(folder))}/[\w@%+=:,./-]*)'", r"\1", command, flags=re.ASCII)


def _portable_path(folder: Path) -> re.Pattern[str]:
    """Matches the folder where it is a path of its own or begins one."""
    return re.compile(rf"(?<![\w./-]){re.escape(str(folder))}(?:/|(?![\w./-]))")


def _portable(value: object, folder: re.Pattern[str]) -> object:
    """``value`` as plain JSON, with the workflow's folder cut off its paths; the folder itself is ``.``."""
    if isinstance(value, (str, Path)):
        return folder.sub(lambda match: "" if match.group().endswith("/") else ".", str(value))
    if isinstance(value, Mapping):
        return {str(key): _portable(one, folder) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_portable(one, folder) for one in value]
    return value


def _readable(command: str | tuple[str, ...]) -> str | tuple[str, ...]:
    return readable(command) if isinstance(command, str) else tuple(readable(word) for word in command)


def _is_as_kept(path: Path, state: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    content = old.get("content")
    if state == {key: value for key, value in old.items() if key != "content"}:
        return True
    is_touched = state["kind"] == old["kind"] == "file" and state["size"] == old["size"]
    return bool(is_touched and content and content == content_of(path))


def _walked(folder: Path) -> dict[str, Any]:
    """The state of a folder that cannot be listed as a dataset: every file below it, links for what they lead to."""
    digest, count = hashlib.sha256(), 0
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root, name)
            with contextlib.suppress(OSError):
                info = path.stat()
                line = f"{path.relative_to(folder)}\0{info.st_size}\0{info.st_mtime_ns}\0"
                digest.update(line.encode(errors="surrogateescape"))
                count += 1
    return {"kind": "folder", "count": count, "digest": digest.hexdigest()[:32]}


def _distinct(*folders: Path) -> Sequence[Path]:
    return list(dict.fromkeys(folders))
