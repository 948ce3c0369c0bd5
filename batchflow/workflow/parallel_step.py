"""The table ``[steps.NAME.parallel]`` → ``ParallelSettings``: what is split, where the rows go, in what form."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from batchflow.workflow import paths
from batchflow.workflow.declarations import Declarations
from batchflow.workflow.diagnostics import did_you_mean
from batchflow.workflow.document import Loc
from batchflow.workflow.parallel_items import read_items
from batchflow.workflow.scope import Scope
from batchflow.workflow.values import Input, Output, OutputFormat, ParallelSettings

if TYPE_CHECKING:
    from batchflow.workflow import schema

DEFAULT_FILE_NAME = "parallel_run_step.txt"
FORMATS: Mapping[str, OutputFormat] = {
    ".txt": "text",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
TYPED_FORMATS = ("parquet", "arrow")


def read_parallel(
    shape: schema.ParallelShape,
    step: str,
    inputs: Mapping[str, Input],
    outputs: Mapping[str, Output],
    scope: Scope,
    declarations: Declarations,
) -> ParallelSettings | None:
    """The settings with their defaults filled in; None when something was reported."""
    return _Reader(shape, step, inputs, outputs, scope, declarations).read()


def script_path(script: str, source_directory: str, step: Loc, declarations: Declarations) -> Path:
    """The absolute path of an entry script, which is relative to its ``source_directory``."""
    loc: Loc = (*step, "parallel")
    if source_directory == ".":
        return Path(paths.absolute(script, declarations.folder_for((*loc, "entry_script"))))
    folder = declarations.folder_for((*loc, "source_directory"))
    return Path(paths.absolute(script, paths.absolute(source_directory, folder)))


class _Reader:
    def __init__(
        self,
        shape: schema.ParallelShape,
        step: str,
        inputs: Mapping[str, Input],
        outputs: Mapping[str, Output],
        scope: Scope,
        declarations: Declarations,
    ) -> None:
        self._shape = shape
        self._step = step
        self._inputs = inputs
        self._outputs = outputs
        self._scope = scope
        self._declarations = declarations
        self._loc: Loc = ("steps", step, "parallel")
        self._good = True

    def read(self) -> ParallelSettings | None:
        shape = self._shape
        folder = self._source_directory()
        items = read_items(shape, self._step, self._inputs, self._report)
        append_row_to, file_name = self._append_row_to()
        output_format = self._output_format(append_row_to, file_name)
        self._copies()
        if not self._good or items is None:
            return None
        side_inputs = self._side_inputs(items.over)
        return ParallelSettings(
            entry_script=script_path(
                shape.entry_script, shape.source_directory or ".", self._loc[:2], self._declarations
            ),
            source_directory=folder,
            **vars(items),
            append_row_to=append_row_to,
            append_row_file_name=file_name,
            output_action=shape.output_action,
            output_format=output_format,
            header=shape.header,
            delimiter=shape.delimiter,
            newline=shape.newline,
            order=shape.order,
            items=shape.items,
            error_threshold=shape.error_threshold,
            mini_batch_error_threshold=shape.mini_batch_error_threshold,
            allowed_failed_percent=shape.allowed_failed_percent,
            run_invocation_timeout_s=shape.run_invocation_timeout,
            init_timeout_s=shape.init_timeout,
            progress_update_timeout_s=shape.progress_update_timeout,
            run_max_try=shape.run_max_try,
            isolate_failures=shape.isolate_failures,
            workers=shape.workers,
            side_inputs=side_inputs,
            arguments=tuple(shape.arguments),
            environment_variables=MappingProxyType(dict(shape.environment_variables)),
            logging_level=shape.logging_level,
            max_items_per_worker=shape.max_items_per_worker,
            worker_memory=shape.worker_memory,
            durability=shape.durability,
            allow_reuse=shape.allow_reuse,
            max_result_size=shape.max_result_size,
            gpus_per_worker=shape.gpus_per_worker,
            failed_to=shape.failed_to,
            receipt_to=shape.receipt_to,
        )

    def _report(
        self, code: str, message: str, key: str | None = None, hint: str | None = None, *, index: int | None = None
    ) -> None:
        """At the key if the file has it, else at the table; ``index``: at this element of the key's array."""
        present = key is not None and ("frame" if key == "as" else key) in self._shape.model_fields_set
        loc = (*self._loc, key) if present and key is not None else self._loc
        if present and index is not None:
            loc = (*loc, index)
        part: Literal["key", "value"] = "value" if present else "key"
        self._scope.problems.add(code, message, self._scope.document, loc, part=part, hint=hint)
        self._good = False

    def _source_directory(self) -> Path:
        """The folder that comes first on ``sys.path``."""
        source = self._shape.source_directory
        if source is None:
            return self._scope.folder
        return Path(paths.absolute(source, self._declarations.folder_for((*self._loc, "source_directory"))))

    def _side_inputs(self, over: Collection[str]) -> tuple[str, ...]:
        """The inputs that are not split; all of them where ``side_inputs`` is left out."""
        declared = self._shape.side_inputs
        if declared is None:
            return tuple(name for name in self._inputs if name not in over)
        for name in declared:
            if name not in self._inputs or name in over:
                why = "is the input that is split" if name in over else "is not an input of the step"
                self._report("BF060", f"side input `{name}` {why}", "side_inputs")
        return tuple(dict.fromkeys(declared))

    def _append_row_to(self) -> tuple[str | None, str | None]:
        """The output that takes the rows, and the name of the file in it when it is a folder."""
        shape = self._shape
        if shape.output_action == "summary_only":
            for key in ("append_row_to", "append_row_file_name", "output_format"):
                if key in shape.model_fields_set:
                    self._report("BF016", f'`{key}` has no meaning with output_action = "summary_only"', key)
            return None, None
        name = shape.append_row_to
        if name is not None and name not in self._outputs:
            self._report("BF061", f"no output `{name}` to append rows to", "append_row_to", self._outputs_hint(name))
            return None, None
        name = name or self._default_output()
        if name is None:
            return None, None
        if self._outputs[name].is_folder:
            file_name = shape.append_row_file_name or DEFAULT_FILE_NAME
            if "/" in file_name or file_name in (".", "..") or "\0" in file_name:
                self._report("BF011", f"append_row_file_name must be a name, got {file_name}", "append_row_file_name")
            return name, file_name
        if shape.append_row_file_name is not None:
            message = f"output `{name}` is a file, so append_row_file_name has no meaning"
            self._report(
                "BF016", message, "append_row_file_name", "declare the output as a folder, with `/` at the end"
            )
        return name, None

    def _default_output(self) -> str | None:
        copies = {self._shape.failed_to, self._shape.receipt_to}
        rest = [one for name, one in self._outputs.items() if name not in copies]
        files = [one.name for one in rest if not one.is_folder]
        if len(files) == 1:
            return files[0]
        if not files and len(rest) == 1:
            return rest[0].name
        if not rest:
            message, hint = f"step `{self._step}` has no output for its rows", 'add outputs = { rows = "FILE.csv" }'
        else:
            message = f"step `{self._step}` has {len(rest)} outputs, which one takes the rows?"
            hint = "write append_row_to = " + " or ".join(f'"{name}"' for name in files or [one.name for one in rest])
        self._report("BF061", message, hint=hint)
        return None

    def _output_format(self, name: str | None, file_name: str | None) -> OutputFormat | None:
        if name is None:
            return None
        extension = Path(file_name or self._outputs[name].path.name).suffix.lower()
        found = self._shape.output_format or FORMATS.get(extension)
        if found is None:
            message = f"the format of the rows cannot be told from the name of output `{name}`"
            hint = f"add output_format, or end the name with one of {' '.join(FORMATS)}"
            loc: Loc = ("steps", self._step, "outputs", name)
            self._scope.problems.add("BF062", message, self._scope.document, loc, hint=hint)
            self._good = False
        for key in ("header", "delimiter", "newline"):
            if found in TYPED_FORMATS and key in self._shape.model_fields_set:
                self._report("BF016", f"`{key}` has no meaning in {found}, where values are typed", key)
        return found

    def _copies(self) -> None:
        """``failed_to`` and ``receipt_to`` must be files among the outputs, each of its own."""
        shape = self._shape
        for key, name in (("failed_to", shape.failed_to), ("receipt_to", shape.receipt_to)):
            if name is None:
                continue
            if name not in self._outputs:
                self._report("BF061", f"no output `{name}` for {key}", key, self._outputs_hint(name))
            elif self._outputs[name].is_folder:
                self._report("BF061", f"{key} needs a file, and output `{name}` is a folder", key)
        named = [one for one in (shape.append_row_to, shape.failed_to, shape.receipt_to) if one is not None]
        if len(set(named)) < len(named):
            key = "receipt_to" if shape.receipt_to is not None else "failed_to"
            self._report("BF061", "append_row_to, failed_to and receipt_to need an output each", key)

    def _outputs_hint(self, name: str) -> str | None:
        return did_you_mean(name, self._outputs)
