# Files → packed listing in shared memory → paths of a range of items.  The layout is drawn in listing.h.
#
# A Listing is immutable.  It is made by ListingBuilder.finish() in the driver, or by Listing.attach() from its
# descriptors in a worker, and lives until its object dies; the descriptors are close-on-exec.

from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

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

cdef extern from "core/walk.h":
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
        BF_GLOB_COMPONENTS_MAX
        BF_WALK_NAMED_MAX
        BF_ENTRY_FILE_LINK
    ctypedef struct bf_listing:
        bf_column column[4]
        uint64_t item_count
        uint64_t segment_count
        bint has_stat
    void bf_listing_clear(bf_listing *listing) noexcept nogil
    void bf_listing_close(bf_listing *listing) noexcept nogil
    int bf_listing_open(bf_listing *listing, bint has_stat) nogil
    int bf_listing_seal(bf_listing *listing) nogil
    int bf_listing_put(bf_listing *listing, const char *folder, size_t folder_length, uint64_t *folder_offset,
                       const uint8_t *name, size_t length) nogil
    int bf_listing_attach(bf_listing *listing, const int *fds, uint64_t item_count, uint64_t segment_count,
                          uint64_t names_size, bint has_stat) nogil
    const bf_segment *bf_listing_segments(const bf_listing *listing) noexcept nogil
    bf_item_stat *bf_listing_stats(const bf_listing *listing) noexcept nogil
    uint64_t bf_listing_find_segment(const bf_listing *listing, uint64_t item) noexcept nogil
    const char *bf_listing_folder(const bf_listing *listing, uint64_t segment) noexcept nogil
    const char *bf_listing_name(const bf_listing *listing, uint64_t segment, uint64_t item) noexcept nogil
    const char *bf_listing_names(const bf_listing *listing, uint64_t segment, uint64_t *item_count,
                                 uint64_t *size) noexcept nogil

    ctypedef struct bf_glob_component:
        int kind
    ctypedef struct bf_glob:
        int count
        bf_glob_component component[63]
    ctypedef struct bf_glob_step_result:
        bint accept
        uint64_t next
        bint hidden
        bint hidden_folder
    int BF_GLOB_ANY_FOLDERS
    void bf_glob_compile(bf_glob_component *component, const uint8_t *text, size_t length) noexcept nogil
    uint64_t bf_glob_mask(const bf_glob *glob, int index) noexcept nogil
    bf_glob_step_result bf_glob_step(const bf_glob *glob, uint64_t mask, const uint8_t *name,
                                     size_t length) noexcept nogil

    ctypedef struct bf_stat_pool:
        int helper_count
    void bf_stat_pool_start(bf_stat_pool *pool, int core_count) noexcept nogil
    void bf_stat_pool_end(bf_stat_pool *pool) noexcept nogil

    ctypedef struct bf_path:
        char *bytes
        size_t length
    ctypedef struct bf_walk_error:
        int code
        const char *what
        bf_path path
    ctypedef struct bf_walk:
        bf_listing *listing
        bf_stat_pool *stat_pool
        const bf_glob *globs
        int glob_count
        const bf_path *taken
        size_t taken_count
        uint64_t matched, skipped_hidden, skipped_special, refused
        bf_path special_paths[8]
        bf_path refused_paths[8]
        bf_walk_error error
    int bf_walk_begin(bf_walk *walk, const char *root, size_t length, const uint64_t *masks) nogil
    int bf_walk_step(bf_walk *walk, size_t budget) nogil
    void bf_walk_end(bf_walk *walk) noexcept nogil


cdef object _listing_damaged():
    return ValueError("the listing is damaged: an offset points outside of it")


cdef list _take_paths(const bf_path *paths, uint64_t count):
    return [PyUnicode_DecodeFSDefaultAndSize(paths[i].bytes, <Py_ssize_t>paths[i].length)
            for i in range(<int>min(count, <uint64_t>BF_WALK_NAMED_MAX)) if paths[i].bytes != NULL]


cdef class Listing:
    """The files of a dataset, packed in shared memory: a path, a size and a time for each item.  Immutable."""

    cdef bf_listing _listing
    cdef bytes _digest
    cdef readonly int skipped_hidden
    cdef readonly int skipped_special
    cdef readonly tuple skipped_special_paths

    def __cinit__(self):
        bf_listing_clear(&self._listing)
        self.skipped_special_paths = ()

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

    def digest(self):
        if self._digest is None:
            self._digest = self._hash()
        return self._digest

    cdef bytes _hash(self):
        # For each segment: its folder, how many names, the names; each ends in NUL, so no two listings read alike.
        cdef const bf_listing *listing = &self._listing
        cdef uint64_t header[2]
        cdef uint64_t segment, count = 0, size = 0
        cdef const char *folder
        cdef const char *names
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


cdef class GlobPattern:
    """The components of one file pattern below its root folder, ready to be fed with names."""

    cdef bf_glob _glob
    cdef readonly tuple components

    def __init__(self, components):
        self.components = tuple(components)
        if not 1 <= len(self.components) <= BF_GLOB_COMPONENTS_MAX:
            raise ValueError(f"expected 1 to {BF_GLOB_COMPONENTS_MAX} components, got {len(self.components)}")
        if self.components[len(self.components) - 1] == b"**":
            raise ValueError("the last component names files, it cannot be '**'")
        cdef bytes component
        for i, component in enumerate(self.components):
            bf_glob_compile(&self._glob.component[<int>i], <const uint8_t *><char *>component, len(component))
        self._glob.count = len(self.components)

    @property
    def start(self):
        return bf_glob_mask(&self._glob, 0)

    def step(self, uint64_t mask, bytes name, /):
        cdef bf_glob_step_result result
        if mask >> self._glob.count:
            raise ValueError(f"mask={mask:#x} has a bit outside of {self._glob.count} components")
        result = bf_glob_step(&self._glob, mask, <const uint8_t *><char *>name, len(name))
        return bool(result.accept), result.next


cdef class ListingBuilder:
    """A listing while it grows: walk patterns and add single files, in order, then finish() once."""

    cdef Listing _result
    cdef bf_stat_pool _pool
    cdef bint _has_pool
    cdef readonly uint64_t skipped_hidden
    cdef readonly uint64_t skipped_special
    cdef readonly list skipped_special_paths
    cdef readonly uint64_t refused
    cdef readonly list refused_paths

    def __init__(self, bint stat, int core_count):
        if self._result is not None:
            raise TypeError("a ListingBuilder is set up once")
        self._result = Listing.__new__(Listing)
        self.skipped_special_paths = []
        self.refused_paths = []
        bf_stat_pool_start(&self._pool, core_count)
        self._has_pool = True
        cdef int error = bf_listing_open(&self._result._listing, stat)
        if error:
            raise OSError(error, os.strerror(error))

    def __dealloc__(self):
        if self._has_pool:
            bf_stat_pool_end(&self._pool)

    cdef bf_listing *_open(self) except NULL:
        if self._result is None:
            raise ValueError("the listing is finished")
        return &self._result._listing

    @property
    def item_count(self):
        return self._open().item_count

    def add(self, bytes folder, bytes name, int64_t size, int64_t mtime_ns, /):
        cdef bf_listing *listing = self._open()
        cdef uint64_t folder_offset = <uint64_t>-1
        if not folder.startswith(b"/") or not folder.endswith(b"/") or b"\0" in folder or b"\0" in name or not name:
            raise ValueError(f"expected an absolute folder that ends in '/' and a name, got {folder!r} and {name!r}")
        cdef int error = bf_listing_put(listing, folder, len(folder), &folder_offset,
                                        <const uint8_t *><char *>name, len(name))
        if error:
            raise OSError(error, os.strerror(error))
        if listing.has_stat:
            bf_listing_stats(listing)[listing.item_count - 1] = bf_item_stat(size, mtime_ns)

    def walk(self, bytes root, patterns, masks, taken, /):
        """Append what ``patterns[0]`` matches below ``root``, without what the other patterns match or ``taken`` has.

        Returns how many files matched, with those; None if there is no folder ``root``.
        """
        cdef bf_listing *listing = self._open()
        if not root.startswith(b"/") or not root.endswith(b"/") or b"\0" in root:
            raise ValueError(f"expected an absolute folder that ends in '/', got {root!r}")
        if not patterns or len(patterns) != len(masks):
            raise ValueError("expected a mask for each pattern")
        cdef int count = len(patterns)
        cdef size_t taken_count = len(taken)
        cdef GlobPattern pattern
        cdef bf_walk walk
        cdef int state = -1
        memset(&walk, 0, sizeof(walk))
        cdef bf_glob *globs = <bf_glob *>PyMem_Malloc(count * sizeof(bf_glob))
        cdef uint64_t *starts = <uint64_t *>PyMem_Malloc(count * sizeof(uint64_t))
        cdef bf_path *paths = <bf_path *>PyMem_Malloc((taken_count + 1) * sizeof(bf_path))
        try:
            if globs == NULL or starts == NULL or paths == NULL:
                raise MemoryError
            for i in range(count):
                pattern = patterns[i]
                globs[i] = pattern._glob
                starts[i] = masks[i]
                if starts[i] >> pattern._glob.count:
                    raise ValueError(f"mask={masks[i]:#x} has a bit outside of {pattern._glob.count} components")
            for i in range(<Py_ssize_t>taken_count):
                paths[i] = bf_path(<char *>(<bytes>taken[i]), len(<bytes>taken[i]))
            walk.listing = listing
            walk.stat_pool = &self._pool
            walk.globs = globs
            walk.glob_count = count
            walk.taken = paths
            walk.taken_count = taken_count
            return self._run(&walk, root, starts)
        finally:
            bf_walk_end(&walk)
            PyMem_Free(globs)
            PyMem_Free(starts)
            PyMem_Free(paths)

    cdef object _run(self, bf_walk *walk, bytes root, const uint64_t *starts):
        cdef const char *root_bytes = root
        cdef size_t length = len(root)
        cdef int state
        with nogil:
            state = bf_walk_begin(walk, root_bytes, length, starts)
        if state == 0:
            return None
        while state > 0:
            with nogil:
                state = bf_walk_step(walk, 256)
            PyErr_CheckSignals()
        if state < 0:
            raise OSError(walk.error.code, (<bytes>walk.error.what).decode(),
                          PyUnicode_DecodeFSDefaultAndSize(walk.error.path.bytes, <Py_ssize_t>walk.error.path.length)
                          if walk.error.path.bytes != NULL else root)
        self.skipped_hidden += walk.skipped_hidden
        self.skipped_special_paths += _take_paths(walk.special_paths, walk.skipped_special)
        self.skipped_special += walk.skipped_special
        self.refused_paths += _take_paths(walk.refused_paths, walk.refused)
        self.refused += walk.refused
        return walk.matched

    def finish(self):
        cdef bf_listing *listing = self._open()
        cdef Listing result = self._result
        cdef int error = bf_listing_seal(listing)
        if error:
            raise OSError(error, os.strerror(error))
        result.skipped_hidden = self.skipped_hidden
        result.skipped_special = self.skipped_special
        result.skipped_special_paths = tuple(self.skipped_special_paths[:BF_WALK_NAMED_MAX])
        self._result = None
        return result
