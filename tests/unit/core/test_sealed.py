"""The memory of rings: nobody who holds it can make it shorter under the other's feet, and its size is allocated."""

from __future__ import annotations

import fcntl
import os
import resource

import pytest

from batchflow import _core


@pytest.mark.fault("G4")
@pytest.mark.parametrize("size", [0, 1 << 12, 1 << 30])
def test_rings_can_be_neither_shortened_nor_lengthened(size: int) -> None:
    channel = _core.Channel()
    with pytest.raises(PermissionError):
        os.ftruncate(channel.fd, size)
    # Nor can the seals be taken off, or others be added.
    with pytest.raises(PermissionError):
        fcntl.fcntl(channel.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


@pytest.mark.fault("G1", "G3")
def test_rings_are_allocated_when_they_are_made() -> None:
    channel = _core.Channel(request_size=1 << 16, completion_size=1 << 20)
    status = os.fstat(channel.fd)
    assert status.st_size > (1 << 20) + (1 << 16)
    assert status.st_blocks * 512 >= status.st_size


@pytest.mark.fault("G3")
def test_rings_that_do_not_fit_are_an_error_with_their_size() -> None:
    """As when memory is short; here the limit of a file's size stands for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(OSError, match=r"cannot allocate \d+ bytes of shared memory for the rings of a worker"):
            _core.Channel(completion_size=1 << 22)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _core.Channel(completion_size=1 << 22).fd >= 0
