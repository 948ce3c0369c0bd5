"""A kernel that lacks calls, or refuses them: ``python kernels.py 'memfd_create=ENOSYS …' COMMAND…``."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_SECCOMP_RET_ERRNO = 0x00050000
_SECCOMP_RET_ALLOW = 0x7FFF0000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06

NUMBERS = {
    "x86_64": {"memfd_create": 319, "fallocate": 285, "copy_file_range": 326, "renameat2": 316, "pidfd_open": 434},
    "aarch64": {"memfd_create": 279, "fallocate": 47, "copy_file_range": 285, "renameat2": 276, "pidfd_open": 434},
}.get(platform.machine(), {})
"""The numbers of system calls; none where they are not known."""


def refuse(calls: dict[str, int]) -> None:
    """Let every system call named fail with its error number, in this process and all that it starts."""
    rules = [(_LOAD, 0, 0, 0)]
    for name, number in calls.items():
        rules += [(_JUMP_IF_EQUAL, 0, 1, NUMBERS[name]), (_RETURN, 0, 0, _SECCOMP_RET_ERRNO | number)]
    rules.append((_RETURN, 0, 0, _SECCOMP_RET_ALLOW))
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    header = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header):
        raise OSError(ctypes.get_errno(), "filters of system calls are not allowed here")


if __name__ == "__main__":
    refuse({name: getattr(errno, error) for name, error in (one.split("=") for one in sys.argv[1].split())})
    os.execv(sys.argv[2], sys.argv[2:])
