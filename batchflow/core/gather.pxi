# From many completions to bytes in input order.  The data structures: append.h, gather.h.

cdef extern from "core/channel.h" nogil:
    ctypedef struct bf_counts:
        uint64_t done, succeeded, missing, rows, surplus
    ctypedef struct bf_shortfall:
        uint64_t index, returned, missing, start, items
        uint32_t attempt
    ctypedef struct bf_extent:
        uint64_t first_item, item_count, offset, size, returned, missing, mini_batch_count
        uint32_t checksum, attempt
    ctypedef struct bf_books:
        bf_buffer out, extents, shortfalls, columns
        bf_counts counts
        int any_items, write_header
    ctypedef struct bf_piece:
        const uint8_t *bytes
        uint64_t size, start, items, returned
        uint32_t columns_size
        int is_checked
    ctypedef struct bf_result:
        uint64_t index, piece_count
        bf_piece *pieces
        void *owned
        uint64_t held
        uint32_t attempt
    ctypedef struct bf_gather:
        bf_books books
        uint64_t next, waiting, held_bytes
        int in_order
    int bf_take(bf_gather *gather, const bf_result *result, bf_buffer *notes)
    int bf_spill(bf_gather *gather, bf_buffer *notes)
    int bf_drain(bf_channel *channel, bf_gather *gather, bf_buffer *scratch, bf_buffer *notes, uint64_t out_limit)
    void bf_checksum_extents(bf_books *books)
    void bf_gather_free(bf_gather *gather)


class Note(typing.NamedTuple):
    """An answer that the driver's Python must look at; ``kind`` is one of this module's constants."""

    kind: int
    mini_batch_index: int
    attempt: int
    returned: int
    start: int
    item_count: int
    columns: bytes
    payload: bytes


class Extent(typing.NamedTuple):
    """Consecutive items whose rows are consecutive bytes of ``Gather.output()``."""

    first_item: int
    item_count: int
    offset: int
    size: int
    checksum: int
    returned: int
    missing: int
    attempt: int
    mini_batch_count: int


class Counts(typing.NamedTuple):
    """What a gather has appended so far: mini-batches done; items succeeded, missing; rows; elements in surplus."""

    done: int
    succeeded: int
    missing: int
    rows: int
    surplus: int


cdef list _take_notes(bf_buffer *notes):
    cdef bf_note *note = <bf_note *>notes.bytes
    cdef uint64_t k, columns
    answer = []
    for k in range(notes.used // sizeof(bf_note)):
        columns = note[k].columns_size
        answer.append(Note(note[k].kind, note[k].index, note[k].attempt, note[k].returned,
                           note[k].start, note[k].items,
                           PyBytes_FromStringAndSize(<char *>note[k].bytes, columns),
                           PyBytes_FromStringAndSize(<char *>note[k].bytes + columns, note[k].size - columns)))
        free(note[k].bytes)
    bf_buffer_free(notes)
    return answer


cdef list _drain(Channel channel, Gather gather):
    cdef bf_buffer notes
    cdef int outcome
    cdef bf_gather *books = NULL if gather is None else &gather.gather
    memset(&notes, 0, sizeof(notes))
    with nogil:
        outcome = bf_drain(&channel.channel, books, &channel.scratch, &notes, 8 << 20)
    return _told(outcome, _take_notes(&notes))


cdef tuple _drain_calls(Channel channel, dict payloads, dict attempts, dict values, list others):
    cdef bf_buffer notes
    cdef int outcome
    memset(&notes, 0, sizeof(notes))
    with nogil:
        outcome = bf_drain(&channel.channel, NULL, &channel.scratch, &notes, 8 << 20)
    cdef bf_note *note = <bf_note *>notes.bytes
    cdef uint64_t k, left = 0, values_size = 0, calls_size = 0
    for k in range(notes.used // sizeof(bf_note)):
        if note[k].kind != BF_RESULT:
            note[left] = note[k]
            left += 1
            continue
        index = note[k].index
        values[index] = PyBytes_FromStringAndSize(<char *>note[k].bytes, note[k].size)
        values_size += note[k].size
        calls_size += len(<bytes>payloads.pop(index))
        if attempts:
            attempts.pop(index, None)
        free(note[k].bytes)
    notes.used = left * sizeof(bf_note)
    if left or outcome < 0:
        others += _told(outcome, _take_notes(&notes))
    else:
        bf_buffer_free(&notes)
    return values_size, calls_size


cdef list _told(int outcome, list answer):
    if outcome == BF_NO_MEMORY:
        raise MemoryError("no memory for results")
    if outcome == BF_DAMAGED:
        answer.append(Note(BF_NOTE_DAMAGED, 0, 0, 0, 0, 0, b"", b""))
    return answer


cdef _take_pieces(bf_result *result, pieces):
    """Copy the pieces of a mini-batch into one block that ``result`` owns: descriptions first, then bytes."""
    cdef list rows = [(start, count, returned, columns, content) for start, count, returned, columns, content in pieces]
    cdef uint64_t size = sum([len(columns) + len(content) for _, _, _, columns, content in rows]), stop = 0
    cdef bytes columns, content
    result.held = len(rows) * sizeof(bf_piece) + size
    result.owned = malloc(result.held or 1)
    if result.owned == NULL:
        raise MemoryError("no memory for results")
    result.pieces = <bf_piece *>result.owned
    cdef bf_piece *piece = result.pieces
    cdef uint8_t *room = <uint8_t *>(result.pieces + <size_t>len(rows))
    try:
        for piece.start, piece.items, piece.returned, columns, content in rows:
            if piece.start < stop or piece.items == 0:
                raise ValueError(f"pieces overlap or are not in the order of their items, start={piece.start}")
            stop = piece.start + piece.items
            piece.bytes = room
            piece.columns_size = <uint32_t>len(columns)
            piece.is_checked = False
            piece.size = len(columns) + len(content)
            memcpy(room, PyBytes_AS_STRING(columns), PyBytes_GET_SIZE(columns))
            memcpy(room + PyBytes_GET_SIZE(columns), PyBytes_AS_STRING(content), PyBytes_GET_SIZE(content))
            room += piece.size
            piece += 1
            result.piece_count += 1
    except BaseException:
        free(result.owned)
        raise


cdef class Gather:
    """Collects the results of all workers and gives their bytes in input order (or as they come).

    What is in ``output()`` or was taken from it is done; ``next`` is the first mini-batch that is not.
    """

    cdef bf_gather gather

    def __cinit__(self, *, bint in_order=True, bint any_items=False, bint write_header=True,
                  bytes columns not None=b""):
        cdef uint8_t *room
        self.gather.in_order = in_order
        self.gather.books.any_items = any_items
        self.gather.books.write_header = write_header
        if columns:
            room = bf_reserve(&self.gather.books.columns, PyBytes_GET_SIZE(columns))
            if room == NULL:
                raise MemoryError("no memory for columns")
            memcpy(room, PyBytes_AS_STRING(columns), PyBytes_GET_SIZE(columns))
            self.gather.books.columns.used = PyBytes_GET_SIZE(columns)

    def __dealloc__(self):
        bf_gather_free(&self.gather)

    def drain(self, Channel channel not None):
        """Take every answer that the channel's worker has published, up to some megabytes of output.

        Returns the notes: failures, readiness, and results whose columns differ from those before.  A last note of
        kind ``DAMAGED`` means that the worker wrote what no worker of ours writes: end it.
        """
        return _drain(channel, self)

    def put(self, uint64_t index, uint32_t attempt, pieces):
        """Take what isolation saved of a mini-batch; see ``_core.pyi``.  Returns notes, as ``drain``."""
        cdef bf_result result
        cdef bf_buffer notes
        cdef int outcome
        memset(&result, 0, sizeof(result))
        memset(&notes, 0, sizeof(notes))
        result.index = index
        result.attempt = attempt
        _take_pieces(&result, pieces)
        with nogil:
            outcome = bf_take(&self.gather, &result, &notes)
        answer = _take_notes(&notes)
        if outcome == BF_NO_MEMORY:
            raise MemoryError("no memory for results")
        if outcome < 0:
            raise ValueError(f"mini-batch {index} is appended or put already")
        return answer

    def spill(self):
        """Append everything that waits, out of order.  Returns notes, as ``drain``."""
        cdef bf_buffer notes
        cdef int outcome
        memset(&notes, 0, sizeof(notes))
        with nogil:
            outcome = bf_spill(&self.gather, &notes)
        answer = _take_notes(&notes)
        if outcome < 0:
            raise MemoryError("no memory for results")
        return answer

    def output(self):
        """A copy-free view of the bytes to append to the output next; valid until ``clear`` or the next drain."""
        if self.gather.books.out.used == 0:
            return memoryview(b"")
        return PyMemoryView_FromMemory(<char *>self.gather.books.out.bytes, self.gather.books.out.used, PyBUF_READ)

    def clear(self):
        """The bytes of ``output()`` have been written, and its extents taken."""
        self.gather.books.out.used = 0
        self.gather.books.extents.used = 0

    def take_extents(self):
        """What ``output()`` is made of, as far as it was not taken before."""
        cdef bf_extent *extent = <bf_extent *>self.gather.books.extents.bytes
        cdef uint64_t k
        with nogil:
            bf_checksum_extents(&self.gather.books)
        answer = [Extent(extent[k].first_item, extent[k].item_count, extent[k].offset, extent[k].size,
                         extent[k].checksum, extent[k].returned, extent[k].missing, extent[k].attempt,
                         extent[k].mini_batch_count)
                  for k in range(self.gather.books.extents.used // sizeof(bf_extent))]
        self.gather.books.extents.used = 0
        return answer

    def take_shortfalls(self):
        """``(mini_batch_index, attempt, returned, missing, start, count)`` of each shortfall since the last call."""
        cdef bf_shortfall *shortfall = <bf_shortfall *>self.gather.books.shortfalls.bytes
        cdef uint64_t k
        answer = [(shortfall[k].index, shortfall[k].attempt, shortfall[k].returned, shortfall[k].missing,
                   shortfall[k].start, shortfall[k].items)
                  for k in range(self.gather.books.shortfalls.used // sizeof(bf_shortfall))]
        self.gather.books.shortfalls.used = 0
        return answer

    @property
    def counts(self):
        """What has been appended so far."""
        cdef bf_counts *counts = &self.gather.books.counts
        return Counts(counts.done, counts.succeeded, counts.missing, counts.rows, counts.surplus)

    @property
    def columns(self):
        """The bytes that name the columns, once a mini-batch with rows has been appended."""
        return PyBytes_FromStringAndSize(<char *>self.gather.books.columns.bytes, self.gather.books.columns.used)

    @property
    def next(self):
        """The first mini-batch that is neither appended nor put."""
        return self.gather.next

    @property
    def waiting(self):
        """How many mini-batches wait for an earlier one."""
        return self.gather.waiting

    @property
    def held_bytes(self):
        """Memory held by mini-batches that wait for an earlier one."""
        return self.gather.held_bytes


def crc32c(const uint8_t[::1] data not None, uint32_t seed=0):
    """CRC-32C of ``data`` that follows bytes with the checksum ``seed``."""
    cdef uint32_t crc = seed
    if data.shape[0]:
        with nogil:
            crc = bf_crc32c(seed, &data[0], data.shape[0])
    return crc


def crc32c_combine(uint32_t first, uint32_t second, uint64_t size):
    """CRC-32C of bytes that have ``first``, followed by ``size`` bytes that have ``second``."""
    return bf_crc32c_combine(first, second, size)
