"""What a zygote is told at its start: which code its workers run, and how.

Travels as JSON through a memfd; a pickled function travels beside it in another one."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from batchflow.tables.options import FrameKind

STACK_SIGNAL = signal.SIGRTMAX - 1
"""Makes a worker write its Python stack to its log, whatever it is doing."""


class WorkerSpec(NamedTuple):
    """All that the workers of one pool have in common.  Paths are absolute.

    No dataclass: a zygote imports this module before its first worker starts.
    """

    kind: Literal["script", "function"]
    worker_count: int
    folder: str | None = None
    """The working directory; None leaves the caller's."""
    environment: Mapping[str, str] = MappingProxyType({})
    thread_environment: Mapping[str, str] = MappingProxyType({})
    """The thread counts that the user set, by variable: the zygote overrules them, workers get them back."""
    import_late: bool = False
    """Load the user's code in each worker after the fork, not in the zygote."""
    cores: int = 1
    logging_level: str = "INFO"
    gpus_per_worker: int = 0

    # kind = "script"
    script: str = ""
    source: str | None = None
    """The script's bytes, one character for each, as they were when the step began; None: as the file is now."""
    source_directory: str = ""
    arguments: tuple[str, ...] = ()
    step: str = ""
    run_id: str = ""
    output_folder: str | None = None
    scratch_folder: str = ""
    frame: FrameKind | None = None
    """What ``run()`` gets of tables; None: it gets files."""
    output_format: Literal["text", "csv", "jsonl", "parquet", "arrow"] | None = None
    delimiter: str | None = None
    newline: Literal["error", "keep"] = "error"
    items: Literal["at_least", "exact", "any"] = "at_least"
    max_result_size: int = 1 << 28
    profile: bool = False
    """Workers say what their time goes into."""

    # kind = "function"
    function: str | None = None
    """``module:qualified_name`` where the function can be imported; None: it comes pickled."""
    init: str | None = None
    calls_pickled: bool = False
    """Functions come with each call, pickled."""
    paths: tuple[str, ...] = ()
    """The caller's ``sys.path``, so that what it can import its workers can."""

    def to_json(self) -> bytes:
        return json.dumps(self._asdict(), ensure_ascii=True, default=dict).encode()

    @classmethod
    def from_json(cls, text: bytes) -> WorkerSpec:
        values = json.loads(text)
        values["arguments"] = tuple(values["arguments"])
        values["paths"] = tuple(values["paths"])
        return cls(**values)
