# From many completions to bytes in input order.  The data structure: gather.h.

cdef extern from "core/channel.h" nogil:
    ctypedef struct bf_counts:
        uint64_t done, succeeded, missing, rows, surplus
    ctypedef struct bf_shortfall:
        uint64_t index, returned, missing
        uint32_t attempt
    ctypedef struct bf_gather:
        bf_buffer out, shortfalls, columns
        uint64_t window_size, next, held_bytes
        bf_counts counts
        int in_order, any_items, write_header
    int bf_skip(bf_gather *gather, uint64_t index)
    int bf_settle(bf_gather *gather, bf_buffer *notes)
    int bf_drain(bf_channel *channel, bf_gather *gather, bf_buffer *scratch, bf_buffer *notes, uint64_t out_limit)
    void bf_gather_free(bf_gather *gather)


class Note(typing.NamedTuple):
    """An answer that the driver's Python must look at; ``kind`` is one of this module's constants."""

    kind: int
    mini_batch_index: int
    attempt: int
    returned: int
    item_count: int
    columns: bytes
    payload: bytes


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
    for k in range(notes.used / sizeof(bf_note)):
        columns = note[k].columns_size
        answer.append(Note(note[k].kind, note[k].index, note[k].attempt, note[k].returned, note[k].items,
                           PyBytes_FromStringAndSize(<char *>note[k].bytes, columns),
                           PyBytes_FromStringAndSize(<char *>note[k].bytes + columns, note[k].size - columns)))
        free(note[k].bytes)
    bf_buffer_free(notes)
    return answer


cdef list _drain(Channel channel, Gather gather):
    cdef bf_buffer scratch, notes
    cdef int outcome
    cdef bf_gather *books = NULL if gather is None else &gather.gather
    memset(&scratch, 0, sizeof(scratch))
    memset(&notes, 0, sizeof(notes))
    with nogil:
        outcome = bf_drain(&channel.channel, books, &scratch, &notes, 8 << 20)
    bf_buffer_free(&scratch)
    answer = _take_notes(&notes)
    if outcome == BF_NO_MEMORY:
        raise MemoryError("no memory for results")
    if outcome == BF_DAMAGED:
        answer.append(Note(BF_NOTE_DAMAGED, 0, 0, 0, 0, b"", b""))
    return answer


cdef class Gather:
    """Collects the results of all workers and gives their bytes in input order (or as they come).

    What is in ``output()`` or was taken from it is done; ``next`` is the first mini-batch that is not.
    """

    cdef bf_gather gather
    cdef Py_ssize_t exported

    def __cinit__(self, *, bint in_order=True, bint any_items=False, bint write_header=True):
        self.gather.in_order = in_order
        self.gather.any_items = any_items
        self.gather.write_header = write_header

    def __dealloc__(self):
        bf_gather_free(&self.gather)

    def drain(self, Channel channel not None):
        """Take every answer that the channel's worker has published, up to some megabytes of output.

        Returns the notes: failures, readiness, and results whose columns differ from those before.  A last note of
        kind ``DAMAGED`` means that the worker wrote what no worker of ours writes: end it.
        """
        return _drain(channel, self)

    def skip(self, uint64_t index):
        """Go on without this mini-batch: it has failed for good.  Returns notes, as ``drain``."""
        cdef bf_buffer notes
        cdef int outcome
        memset(&notes, 0, sizeof(notes))
        with nogil:
            outcome = bf_skip(&self.gather, index)
            if outcome == 0 and self.gather.in_order:
                outcome = bf_settle(&self.gather, &notes)
        answer = _take_notes(&notes)
        if outcome == BF_NO_MEMORY:
            raise MemoryError("no memory for results")
        if outcome < 0:
            raise ValueError(f"mini-batch {index} is done or skipped already")
        return answer

    def output(self):
        """A copy-free view of the bytes to append to the output next; valid until ``clear`` or the next drain."""
        if self.gather.out.used == 0:
            return memoryview(b"")
        return PyMemoryView_FromMemory(<char *>self.gather.out.bytes, self.gather.out.used, PyBUF_READ)

    def clear(self):
        """The bytes of ``output()`` have been written."""
        self.gather.out.used = 0

    def take_shortfalls(self):
        """``(mini_batch_index, attempt, returned, missing)`` of each shortfall since the last call."""
        cdef bf_shortfall *shortfall = <bf_shortfall *>self.gather.shortfalls.bytes
        cdef uint64_t k
        answer = [(shortfall[k].index, shortfall[k].attempt, shortfall[k].returned, shortfall[k].missing)
                  for k in range(self.gather.shortfalls.used / sizeof(bf_shortfall))]
        self.gather.shortfalls.used = 0
        return answer

    @property
    def counts(self):
        """What has been appended so far."""
        cdef bf_counts *counts = &self.gather.counts
        return Counts(counts.done, counts.succeeded, counts.missing, counts.rows, counts.surplus)

    @property
    def columns(self):
        """The bytes that name the columns, once a mini-batch with rows has been appended."""
        return PyBytes_FromStringAndSize(<char *>self.gather.columns.bytes, self.gather.columns.used)

    @property
    def next(self):
        """The first mini-batch that is neither appended nor skipped (with ``in_order``)."""
        return self.gather.next

    @property
    def held_bytes(self):
        """Memory held by results that wait for an earlier one."""
        return self.gather.held_bytes


def crc32c(const uint8_t[::1] data not None, uint32_t seed=0):
    """CRC-32C of ``data`` that follows bytes with the checksum ``seed``."""
    cdef uint32_t crc = seed
    if data.shape[0]:
        with nogil:
            crc = bf_crc32c(seed, &data[0], data.shape[0])
    return crc
