"""Fetch the four MNIST files once, check them, and keep them in the user's cache.

The pins are of the *unpacked* content: mirrors pack the same content into different gzip files.

Invariant: a file has its final name only after its content was checked, so a file of that name in the cache is good,
whenever the process ends; it is checked again all the same, since others may write there.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from mnist.idx import FormatError, packed_size_max, read_gzip

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
READ_SIZE = 256 * 1024


@dataclass(frozen=True)
class Pin:
    """One file and what it must contain: ``size`` in bytes and ``sha256`` (hexadecimal) of the unpacked content."""

    name: str
    size: int
    sha256: str


TRAIN_IMAGES = Pin(
    "train-images-idx3-ubyte.gz", 47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
)
TRAIN_LABELS = Pin(
    "train-labels-idx1-ubyte.gz", 60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
)
TEST_IMAGES = Pin(
    "t10k-images-idx3-ubyte.gz", 7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
)
TEST_LABELS = Pin(
    "t10k-labels-idx1-ubyte.gz", 10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
)
PINS = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


class DownloadError(RuntimeError):
    """No mirror gave a good file; the message says what to do instead."""


def cache_folder() -> Path:
    """``~/.cache/batchflow/mnist``, or below ``XDG_CACHE_HOME`` where that is set to an absolute path."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "batchflow" / "mnist"  # noqa: PTH117


def fetch_all(
    folder: Path, pins: Sequence[Pin] = PINS, mirrors: Sequence[str] = MIRRORS, timeout_s: float = 30.0
) -> None:
    """Make sure that ``folder`` holds a good copy of every pinned file; downloads only what is missing or bad.

    Raises ``DownloadError`` when a file can be had from no mirror.
    """
    for pin in pins:
        if _good(folder / pin.name, pin):
            continue
        problems = []
        for mirror in mirrors:
            problem = _try_mirror(folder, pin, mirror, timeout_s)
            if problem is None:
                break
            problems.append(problem)
        else:
            raise DownloadError(instructions(folder, pin, pins, problems))


def check(path: Path, pin: Pin) -> None:
    """Raises ``FormatError`` unless the file at ``path`` unpacks to exactly the pinned content."""
    content = read_gzip(path, pin.size)
    if len(content) != pin.size:
        raise FormatError(f"{path}: expected {pin.size:,} bytes unpacked, got {len(content):,}")
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != pin.sha256:
        raise FormatError(f"{path}: expected content with sha256={pin.sha256}, got {sha256}")


def instructions(folder: Path, pin: Pin, pins: Iterable[Pin], problems: Iterable[str]) -> str:
    """Why there is no data, and what the reader can do about it."""
    lines = [f"MNIST is not here and could not be downloaded: {pin.name}"]
    lines += [f"  {problem}" for problem in problems]
    lines += ["get these four files from any copy of MNIST (sizes are of the unpacked content):"]
    lines += [f"  {one.name:<27} {one.size:>11,} bytes" for one in pins]
    lines += [
        "put them into one folder and name it:",
        "  batchflow run workflows/mnist.toml --set source=FOLDER",
        f"or put them into {folder}, where they are found without a word",
    ]
    return "\n".join(lines)


def _good(path: Path, pin: Pin) -> bool:
    try:
        check(path, pin)
    except FileNotFoundError:
        return False
    except FormatError as error:
        print(f"{error}; downloading it again", flush=True)
        return False
    return True


def _try_mirror(folder: Path, pin: Pin, mirror: str, timeout_s: float) -> str | None:
    """Download one file, check it and give it its name.  Returns what went wrong, or None."""
    url = mirror.rstrip("/") + "/" + pin.name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    print(f"downloading {pin.name} from {urlsplit(url).netloc}", flush=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{pin.name}.", delete=False) as file:  # mode 0600
        part = Path(file.name)
        try:
            _copy(url, file, pin.size, timeout_s)
            check(part, pin)
            part.replace(folder / pin.name)
        except FormatError as error:
            return f"{url}: {str(error).removeprefix(f'{part}: ')}"
        except (OSError, HTTPException) as error:  # urllib's errors are OSErrors: refused, not found, timed out
            return f"{url}: {error}"
        finally:
            part.unlink(missing_ok=True)
    _sync_folder(folder)
    return None


def _copy(url: str, file: IO[bytes], size_max: int, timeout_s: float) -> None:
    """Write what ``url`` gives to ``file`` and on to the disk; ``size_max`` is that of the unpacked content."""
    copied = 0
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        while piece := response.read(READ_SIZE):
            copied += len(piece)
            if copied > packed_size_max(size_max):
                raise FormatError(f"sends more than any gzip file of {size_max:,} bytes of content has")
            file.write(piece)
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """The new name is on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
