# cython: language_level=3
"""The compiled core.  This is its front page; the rooms are in ``batchflow/core/``.

    listing.pxi  listing.h  column.h               packed listing in shared memory → paths of a range of items
    builder.pxi  walk.h  place.h  folder.h         patterns and a tree → listing
                 glob.h  stat.h
    ring.pxi     ring.h  channel.h  crc32c.h       the driver's end of one worker's rings, in one memfd
    port.pxi     port.h                            the worker's end, with its flight recorder
    gather.pxi   gather.h  append.h                completions of all workers → bytes in input order
    rows.pxi     rows.h                            a list of strings → the lines of a text file
    records.pxi  records.h  records_scan.h         CSV and JSON Lines → where their records begin
                 records_vector.h  records_exact.h
                 records_spans.h  records_split.h
    format.pxi   format.h  decimal.h               columns of a frame → the rows of a csv file
    numbers.pxi  numbers.h                         numbers in CSV that are not in their shortest form
"""

import typing

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_READ, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from cpython.list cimport PyList_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.fcntl cimport posix_fallocate
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, madvise, mmap, munmap
from posix.types cimport off_t
from posix.unistd cimport SEEK_END, close, getpid, lseek

cdef extern from "<sys/mman.h>" nogil:
    int memfd_create(const char *name, unsigned int flags)
    enum: MFD_CLOEXEC
    enum: MFD_ALLOW_SEALING
    enum: MADV_DONTFORK

cdef extern from "<fcntl.h>" nogil:
    int fcntl(int fd, int command, ...)
    enum: F_ADD_SEALS
    enum: F_SEAL_SHRINK
    enum: F_SEAL_GROW
    enum: F_SEAL_SEAL

cdef extern from "core/crc32c.h" nogil:
    void bf_crc32c_prepare()
    uint32_t bf_crc32c(uint32_t seed, const void *bytes, size_t size)
    uint32_t bf_crc32c_combine(uint32_t first, uint32_t second, uint64_t size)

bf_crc32c_prepare()

include "core/ring.pxi"
include "core/port.pxi"
include "core/gather.pxi"
include "core/listing.pxi"
include "core/builder.pxi"
include "core/rows.pxi"
include "core/records.pxi"
include "core/format.pxi"
include "core/numbers.pxi"
