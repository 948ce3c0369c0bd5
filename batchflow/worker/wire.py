"""One message with descriptors between driver and zygote, received so that no descriptor can leak into a program."""

from __future__ import annotations

import array
import socket

MESSAGE_SIZE = 160 << 10
"""Bytes of the longest message; the kernel's default for a socket takes some more."""
_DESCRIPTORS_MAX = 8


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """The next message, empty at the end, and its descriptors, close-on-exec from the first moment on.

    ``socket.recv_fds`` ignores its flags, and between its return and ``set_inheritable`` another thread may fork.
    """
    descriptors = array.array("i")
    room = socket.CMSG_SPACE(_DESCRIPTORS_MAX * descriptors.itemsize)
    message, ancillary, _, _ = control.recvmsg(MESSAGE_SIZE, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return message, descriptors.tolist()
