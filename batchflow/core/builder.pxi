# File patterns and a tree → a Listing.  glob.h says what matches, walk.h how the tree is walked, stat.h how files are
# looked at by all cores.
#
# A ListingBuilder is of use until an error or finish(); what it appends is in the order it is told.

from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memset

cdef extern from "core/walk.h":
    enum:
        BF_GLOB_COMPONENTS_MAX
        BF_WALK_NAMED_MAX
    int bf_listing_open(bf_listing *listing, bint has_stat) nogil
    int bf_listing_seal(bf_listing *listing) nogil
    int bf_listing_put(bf_listing *listing, const char *folder, size_t folder_length, uint64_t *folder_offset,
                       const uint8_t *name, size_t length) nogil

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


cdef list _take_paths(const bf_path *paths, uint64_t count):
    return [PyUnicode_DecodeFSDefaultAndSize(paths[i].bytes, <Py_ssize_t>paths[i].length)
            for i in range(<int>min(count, <uint64_t>BF_WALK_NAMED_MAX)) if paths[i].bytes != NULL]


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
