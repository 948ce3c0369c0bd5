"""``--events FILE``: what happens in a run, appended to a file as JSON Lines; a ``courier.Receiver``."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from batchflow.errors import UsageError
from batchflow.model import Event, as_event_dict
from batchflow.redaction import redacted


class EventFile:
    """One JSON object to a line, each with the UTC ``time`` at which it was written, and no secrets.

    Raises ``UsageError`` if the file cannot be opened.
    """

    tick_s = 1.0

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"cannot write events to {path}: {error.strerror}", hint="choose another --events FILE"
            ) from None

    def show(self, event: Event) -> None:
        time = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        self._file.write(json.dumps({"time": time} | redacted(as_event_dict(event))) + "\n")
        # At once: the file is read while the run goes on.
        self._file.flush()

    def say(self, line: str) -> None:
        """Not an event of the run."""

    def tick(self) -> None:
        """Nothing waits to be written."""

    def close(self) -> None:
        self._file.close()
