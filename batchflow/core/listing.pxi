# Files → packed listing in shared memory → paths of a range of items.  The layout is drawn in listing.h.
#
# A Listing is immutable.  It is made by ListingBuilder.finish() in the driver, or by Listing.attach() from its
# descriptors in a worker, and lives until its object dies; the descriptors are close-on-exec.

from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen, strncmp

import os

cdef extern from *:
    """
    /* Copy, and say whether every byte is ASCII. */
    static inline int bf_copy_is_ascii(char *to, const char *from, size_t length)
    {
        uint64_t seen = 0;
        size_t i = 0;
        for (; i + 8 <= length; i += 8) {
            uint64_t word;
            memcpy(&word, from + i, 8);
            memcpy(to + i, &word, 8);
            seen |= word;
        }
        for (; i < length; i++) {
            to[i] = from[i];
            seen |= (unsigned char)from[i];
        }
        return !(seen & 0x8080808080808080ULL);
    }
    """
    bint bf_copy_is_ascii(char *to, const char *source, size_t length) noexcept nogil

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maximum)
    void *PyUnicode_DATA(object text)
    object PyUnicode_DecodeFSDefaultAndSize(const char *bytes, Py_ssize_t size)

cdef extern from "core/listing.h":
    ctypedef struct bf_column:
        int fd
        uint8_t *base
        uint64_t used
    ctypedef struct bf_segment:
        uint64_t first_item
        uint64_t names_offset
        uint64_t folder_offset
    ctypedef struct bf_item_stat:
        int64_t size
        int64_t mtime_ns
    enum:
        BF_SEGMENTS, BF_OFFSETS, BF_STATS, BF_NAMES, BF_COLUMN_COUNT
    ctypedef struct bf_listing:
        bf_column column[4]
        uint64_t item_count
        uint64_t segment_count
        bint has_stat
    void bf_listing_clear(bf_listing *listing) noexcept nogil
    void bf_listing_close(bf_listing *listing) noexcept nogil
    int bf_listing_attach(bf_listing *listing, const int *fds, uint64_t item_count, uint64_t segment_count,
                          uint64_t names_size, bint has_stat) nogil
    const bf_segment *bf_listing_segments(const bf_listing *listing) noexcept nogil
    bf_item_stat *bf_listing_stats(const bf_listing *listing) noexcept nogil
    uint64_t bf_listing_find_segment(const bf_listing *listing, uint64_t item) noexcept nogil
    const char *bf_listing_folder(const bf_listing *listing, uint64_t segment) noexcept nogil
    const char *bf_listing_name(const bf_listing *listing, uint64_t segment, uint64_t item) noexcept nogil
    const char *bf_listing_names(const bf_listing *listing, uint64_t segment, uint64_t *item_count,
                                 uint64_t *size) noexcept nogil


cdef object _listing_damaged():
    return ValueError("the listing is damaged: an offset points outside of it")


cdef class Listing:
    """The files of a dataset, packed in shared memory: a path, a size and a time for each item.  Immutable."""

    cdef bf_listing _listing
    cdef dict _digests
    cdef readonly uint64_t skipped_hidden
    cdef readonly uint64_t skipped_special
    cdef readonly tuple skipped_special_paths

    def __cinit__(self):
        bf_listing_clear(&self._listing)
        self.skipped_special_paths = ()
        self._digests = {}

    def __init__(self):
        raise TypeError("a Listing is made by list_files() or Listing.attach()")

    def __dealloc__(self):
        bf_listing_close(&self._listing)

    @staticmethod
    def attach(fds, description):
        cdef Listing self = Listing.__new__(Listing)
        cdef int numbers[4]
        fds = tuple(fds)
        if len(fds) != BF_COLUMN_COUNT or description.get("version") != 1:
            raise ValueError(f"expected {BF_COLUMN_COUNT} descriptors and version=1, "
                             f"got {len(fds)} and version={description.get('version')!r}")
        for i in range(BF_COLUMN_COUNT):
            numbers[i] = fds[i]
        cdef uint64_t item_count = description["item_count"]
        cdef uint64_t segment_count = description["segment_count"]
        cdef uint64_t names_size = description["names_size"]
        cdef int error = bf_listing_attach(&self._listing, numbers, item_count, segment_count, names_size,
                                           bool(description["has_stat"]))
        if error:
            raise ValueError(f"the description does not fit the listing: {os.strerror(error)}")
        self.skipped_hidden = description["skipped_hidden"]
        self.skipped_special = description["skipped_special"]
        return self

    def describe(self):
        return {
            "version": 1,
            "item_count": self._listing.item_count,
            "segment_count": self._listing.segment_count,
            "names_size": self._listing.column[BF_NAMES].used,
            "has_stat": int(self._listing.has_stat),
            "skipped_hidden": self.skipped_hidden,
            "skipped_special": self.skipped_special,
        }

    def fds(self):
        return tuple([self._listing.column[i].fd for i in range(BF_COLUMN_COUNT)])

    @property
    def item_count(self):
        return self._listing.item_count

    @property
    def has_stat(self):
        return bool(self._listing.has_stat)

    @property
    def memory_size(self):
        return sum([self._listing.column[i].used for i in range(BF_COLUMN_COUNT)])

    def __len__(self):
        return <Py_ssize_t>self._listing.item_count

    cdef uint64_t _index(self, Py_ssize_t index) except? <uint64_t>-1:
        if index < 0 or <uint64_t>index >= self._listing.item_count:
            raise IndexError(f"item_index={index} is outside of item_count={self._listing.item_count}")
        return <uint64_t>index

    def path(self, Py_ssize_t item_index, /):
        self._index(item_index)
        return self.paths(item_index, item_index + 1)[0]

    def paths(self, Py_ssize_t start, Py_ssize_t stop, /):
        cdef const bf_listing *listing = &self._listing
        if start < 0 or stop < start or <uint64_t>stop > listing.item_count:
            raise IndexError(f"start={start} stop={stop} is outside of item_count={listing.item_count}")
        cdef list result = []
        if start == stop:
            return result
        cdef const bf_segment *segments = bf_listing_segments(listing)
        cdef uint64_t segment = bf_listing_find_segment(listing, <uint64_t>start), item
        cdef const char *folder = NULL
        cdef const char *name
        cdef size_t folder_length = 0, length
        cdef bint ascii_folder = False
        cdef object path
        for item in range(<uint64_t>start, <uint64_t>stop):
            while segment + 1 < listing.segment_count and segments[segment + 1].first_item <= item:
                segment += 1
                folder = NULL
            if folder == NULL:
                folder = bf_listing_folder(listing, segment)
                if folder == NULL:
                    raise _listing_damaged()
                folder_length = strlen(folder)
                ascii_folder = folder[:folder_length].isascii()
            name = bf_listing_name(listing, segment, item)
            if name == NULL:
                raise _listing_damaged()
            length = strlen(name)
            if ascii_folder:
                path = PyUnicode_New(<Py_ssize_t>(folder_length + length), 127)
                memcpy(PyUnicode_DATA(path), folder, folder_length)
                if bf_copy_is_ascii(<char *>PyUnicode_DATA(path) + folder_length, name, length):
                    result.append(path)
                    continue
            path = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(folder_length + length))
            memcpy(<char *>path, folder, folder_length)
            memcpy(<char *>path + folder_length, name, length)
            result.append(PyUnicode_DecodeFSDefaultAndSize(<char *>path, <Py_ssize_t>(folder_length + length)))
        return result

    cdef bf_item_stat _stat(self, Py_ssize_t index) except *:
        self._index(index)
        if not self._listing.has_stat:
            raise ValueError("the files were listed without size and time (stat=False)")
        return bf_listing_stats(&self._listing)[index]

    def size(self, Py_ssize_t item_index, /):
        return self._stat(item_index).size

    def mtime_ns(self, Py_ssize_t item_index, /):
        return self._stat(item_index).mtime_ns

    def digest(self, relative_to=None):
        cdef bytes base = b"" if relative_to is None else os.fsencode(relative_to).rstrip(b"/") + b"/"
        digest = self._digests.get(base)
        if digest is None:
            digest = self._digests[base] = self._hash(base)
        return digest

    cdef bytes _hash(self, bytes base):
        # For each segment: its folder, how many names, the names; each ends in NUL, so no two listings read alike.
        # A folder that begins with base goes on after it; no other is like that one, for it begins with "/".
        cdef const bf_listing *listing = &self._listing
        cdef uint64_t header[2]
        cdef uint64_t segment, count = 0, size = 0
        cdef const char *folder
        cdef const char *names
        cdef const char *prefix = base
        cdef size_t base_size = len(base)
        cdef bytearray pending = bytearray()
        from hashlib import blake2b

        state = blake2b(digest_size=16, person=b"bf listing 1")
        header[0] = listing.item_count
        header[1] = listing.has_stat
        pending += (<char *>header)[:sizeof(header)]
        for segment in range(listing.segment_count):
            folder = bf_listing_folder(listing, segment)
            names = bf_listing_names(listing, segment, &count, &size)
            if folder == NULL or names == NULL:
                raise _listing_damaged()
            if base_size and strncmp(folder, prefix, base_size) == 0:
                folder += base_size
            pending += folder[:strlen(folder) + 1]
            pending += (<char *>&count)[:sizeof(count)]
            if size < 65536:
                pending += names[:size]
            if size >= 65536 or len(pending) >= 65536:
                state.update(pending)
                pending.clear()
            if size >= 65536:
                state.update(PyMemoryView_FromMemory(<char *>names, <Py_ssize_t>size, PyBUF_READ))
        state.update(pending)
        if listing.column[BF_STATS].used:
            state.update(PyMemoryView_FromMemory(<char *>listing.column[BF_STATS].base,
                                                 <Py_ssize_t>listing.column[BF_STATS].used, PyBUF_READ))
        return state.digest()
