"""The shim from Python: build it, share a control block with it, read its log.  See ``shim/shim.h``."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

SOURCES = Path(__file__).parent / "shim"
BUILD = Path(__file__).parents[2] / "build" / "crash"
CONTROL_VARIABLE = "CRASH_SHIM_CONTROL"
_MAGIC = 0x6D696873
_PATH_SIZE = 1024
_INODE_MAX = 512


class Kind(IntEnum):
    """``enum kind`` of the shim: what an operation does."""

    OPEN = 1
    CREATE = 2
    WRITE = 3
    TRUNCATE = 4
    ALLOCATE = 5
    SYNC = 6
    SYNC_ALL = 7
    RENAME = 8
    EXCHANGE = 9
    LINK = 10
    UNLINK = 11
    MKDIR = 12
    RMDIR = 13
    CLOSE = 14
    READ = 15
    MAP = 16
    UNMODELLED = 17


class KillMode(IntEnum):
    NEVER = 0
    BEFORE = 1
    AFTER = 2
    MID = 3


class Block(ctypes.Structure):
    """``struct control``."""

    _fields_ = [
        ("magic", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("active_pid", ctypes.c_int32),
        ("log_fd", ctypes.c_int32),
        ("root_length", ctypes.c_uint32),
        ("kill_mode", ctypes.c_uint32),
        ("op_count", ctypes.c_uint64),
        ("read_count", ctypes.c_uint64),
        ("kill_at", ctypes.c_uint64),
        ("kill_permille", ctypes.c_uint32),
        ("fail_kinds", ctypes.c_uint32),
        ("fail_at", ctypes.c_uint64),
        ("fail_read_at", ctypes.c_uint64),
        ("fail_errno", ctypes.c_uint32),
        ("fail_short", ctypes.c_uint32),
        ("fail_for_ever", ctypes.c_uint32),
        ("fault_count", ctypes.c_uint32),
        ("hit_kind", ctypes.c_uint32),
        ("inode_count", ctypes.c_uint32),
        ("hit_path", ctypes.c_char * _PATH_SIZE),
        ("root", ctypes.c_char * _PATH_SIZE),
        ("boot_path", ctypes.c_char * _PATH_SIZE),
        ("inode_real", ctypes.c_uint64 * _INODE_MAX),
        ("inode_shown", ctypes.c_uint64 * _INODE_MAX),
    ]


class NoShimError(Exception):
    """The shim cannot be built or loaded here; the text says why."""


def build() -> Path:
    """The shim as a library, compiled if its sources are new; raises ``NoShimError``."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise NoShimError("no gcc")
    sources = sorted(SOURCES.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(one.read_bytes() for one in sources)).hexdigest()[:16]
    library = BUILD / f"shim-{digest}.so"
    if not library.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        fresh = library.with_suffix(f".{os.getpid()}")
        inputs = [str(one) for one in sources if one.suffix == ".c"]
        options = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Wno-nonnull-compare", "-fPIC", "-shared"]
        command = [compiler, *options, "-fvisibility=hidden", "-o", str(fresh), *inputs, "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NoShimError(f"gcc: {done.stderr}")
        fresh.rename(library)
    return library


def environment(control_path: Path) -> dict[str, str]:
    """What a process needs to be started with, so that the shim is in it and listens to ``control_path``."""
    return {"LD_PRELOAD": str(build()), CONTROL_VARIABLE: str(control_path)}


class Control:
    """The control block in a file, for the process that steers and for those that are steered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            fresh = Block(magic=_MAGIC, log_fd=-1)
            path.write_bytes(bytes(fresh))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), ctypes.sizeof(Block))
        self.block = Block.from_buffer(self._memory)

    def check(self) -> None:
        """Raise ``NoShimError`` unless the shim is loaded here and means the same structure."""
        if self.block.size != ctypes.sizeof(Block):
            raise NoShimError(f"the shim is not loaded, size={self.block.size}, expected={ctypes.sizeof(Block)}")

    def watch(self, root: Path) -> None:
        """Only what happens below ``root`` counts."""
        self.block.root = os.fsencode(root)
        self.block.root_length = len(os.fsencode(root))

    def disarm(self) -> None:
        """Count from zero, kill, fail and log nothing."""
        block = self.block
        block.active_pid = 0
        block.log_fd = -1
        block.kill_mode = block.kill_at = block.kill_permille = 0
        block.fail_at = block.fail_read_at = block.fail_errno = block.fail_short = block.fail_for_ever = 0
        block.fail_kinds = block.fault_count = block.hit_kind = 0
        block.hit_path = b""
        block.op_count = block.read_count = 0

    def show_inodes(self, shown: dict[int, int]) -> None:
        """Let the program see ``shown[real]`` for the inode number ``real``."""
        if len(shown) > _INODE_MAX:
            raise NoShimError(f"{len(shown)} inode numbers to translate, at most {_INODE_MAX}")
        for index, (real, told) in enumerate(shown.items()):
            self.block.inode_real[index] = real
            self.block.inode_shown[index] = told
        self.block.inode_count = len(shown)

    @property
    def hit(self) -> str:
        """The operation that was killed or failed, in words; empty if none was."""
        if not self.block.hit_kind:
            return ""
        name = os.fsdecode(self.block.hit_path).removeprefix(os.fsdecode(self.block.root)).lstrip("/")
        return f"{Kind(self.block.hit_kind).name.lower()} {name}"


_ENTRY = struct.Struct("<IiQQQQqII")


@dataclass(frozen=True)
class Entry:
    """One operation of a log: ``struct entry`` of the shim; paths are relative to the root."""

    kind: Kind
    error: int
    number: int
    inode: int
    offset: int
    length: int
    mtime_ns: int
    path: str
    path2: str
    data: bytes

    def describe(self) -> str:
        target = f" -> {self.path2}" if self.path2 else ""
        extent = f" {self.length} at {self.offset}" if self.kind is Kind.WRITE else ""
        failed = f" errno {self.error}" if self.error else ""
        return f"{self.number} {self.kind.name.lower()} {self.path}{target}{extent}{failed}"


def read_log(content: bytes, root: Path) -> Iterator[Entry]:
    """The entries of a log; a torn last one is left out."""
    prefix = len(os.fsencode(root)) + 1
    at = 0
    while at + _ENTRY.size <= len(content):
        kind, error, number, inode, offset, length, mtime_ns, size, size2 = _ENTRY.unpack_from(content, at)
        at += _ENTRY.size
        data_size = length if kind == Kind.WRITE and error == 0 else 0
        if at + size + size2 + data_size > len(content):
            return
        path = os.fsdecode(content[at + prefix : at + size])
        path2 = os.fsdecode(content[at + size + prefix : at + size + size2]) if size2 else ""
        at += size + size2
        data = content[at : at + data_size]
        at += data_size
        yield Entry(Kind(kind), error, number, inode, offset, length, mtime_ns, path, path2, data)
