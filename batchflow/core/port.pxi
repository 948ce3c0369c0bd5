# The worker's end of its rings, for Python.  The protocol: port.h.

cdef extern from "core/port.h" nogil:
    ctypedef struct bf_port:
        bf_shared *shared
        bf_buffer inbox
        int home_fd
    ctypedef struct bf_outgoing:
        bf_record record
        const uint8_t *bytes
        uint64_t left
    void bf_port_open(bf_port *port, bf_shared *shared, int event_fd)
    int bf_take_request(bf_port *port, bf_record *request)
    int bf_send(bf_port *port, bf_outgoing *answer)
    int bf_port_sleep(bf_port *port, const bf_outgoing *answer)

cdef enum:
    _PACKED_SIZE_MAX = 1 << 16
PACKED_SIZE_MAX = _PACKED_SIZE_MAX


cdef class Port:
    """Take requests, publish answers, and keep the flight recorder.

    ``attach`` maps the memfd; ``event_fd`` is the eventfd that wakes the driver.
    """

    cdef bf_port port
    cdef uint64_t mapped_size
    cdef bint has_laps
    cdef bf_buffer outbox
    cdef uint64_t packed_count

    def __cinit__(self, int fd, int event_fd, uint32_t generation):
        cdef off_t size = lseek(fd, 0, SEEK_END)
        if size < <off_t>(3 * BF_PAGE):
            raise ValueError(f"not the rings of a worker, {size=}")
        cdef void *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if mapping == MAP_FAILED:
            raise OSError(errno, "cannot map the rings of this worker")
        self.mapped_size = size
        bf_port_open(&self.port, <bf_shared *>mapping, event_fd)
        cdef bf_shared *shared = self.port.shared
        if (shared.magic != BF_SHARED_MAGIC or shared.version != 1 or shared.generation != generation
                or not _is_ring_size(shared.request_size) or not _is_ring_size(shared.completion_size)
                or bf_rings_size(shared.request_size, shared.completion_size) != self.mapped_size):
            raise ValueError(f"not the rings of this worker, {generation=}")
        # A child that the user's code forks must not answer in our name: it does not get the mapping.
        madvise(mapping, self.mapped_size, MADV_DONTFORK)
        shared.pid = getpid()

    def __dealloc__(self):
        if self.port.shared != NULL:
            munmap(self.port.shared, self.mapped_size)
        bf_buffer_free(&self.port.inbox)
        bf_buffer_free(&self.outbox)

    def keep_home(self, int fd):
        """Go back to the folder ``fd`` after each mini-batch, but for the shortest, and before the driver is woken.

        Where that fails, the script has closed descriptors: ``take`` and ``publish_…`` raise ``OSError``.
        """
        self.port.home_fd = fd

    def set_state(self, str state not None):
        """Tell the driver what this worker does now."""
        bf_store32(&self.port.shared.state, _STATES.index(state))

    def begin_lap(self, str lap not None):
        """From now on this worker's time goes into ``lap``, one of ``LAPS``; before the first call into none."""
        self.has_laps = True
        bf_begin_lap(self.port.shared, _LAP_NUMBERS[lap])

    def take(self):
        """Wait for the next request for a range of the listing.

        Returns ``(mini_batch_index, attempt, first_item, item_count)``, None when the worker shall stop.
        Raises ``ValueError`` when the ring is damaged.
        """
        cdef bf_record record
        if self.next_request(&record) == BF_REQUEST_STOP:
            return None
        return record.index, record.attempt, record.count, record.extra

    def take_call(self):
        """Wait for the next request that comes as bytes.

        Returns ``(mini_batch_index, attempt, payload)``, None when the worker shall stop.
        Raises ``ValueError`` when the ring is damaged.
        """
        cdef bf_record record
        if self.next_request(&record) == BF_REQUEST_STOP:
            return None
        return record.index, record.attempt, PyBytes_FromStringAndSize(<char *>self.port.inbox.bytes, self.port.inbox.used)

    cdef int next_request(self, bf_record *request) except -1:
        """Wait for a whole request, of which the last record is left in ``request``; its kind."""
        self.port.inbox.used = 0
        cdef int kind = bf_take_request(&self.port, request)
        while kind == BF_EMPTY:
            self.sleep(NULL)
            kind = bf_take_request(&self.port, request)
        if kind == BF_NO_MEMORY:
            raise MemoryError("no memory for a request")
        if kind < 0:
            raise ValueError("the request ring is damaged")
        return kind

    def publish_result(self, uint64_t index, uint32_t attempt, uint64_t returned, bytes columns not None,
                       bytes rows not None):
        """Publish what ``run()`` gave: ``returned`` elements, the bytes that name the columns, the bytes of the rows."""
        if PyBytes_GET_SIZE(columns):
            rows = columns + rows
        self.publish_bytes(BF_RESULT, index, attempt, returned, PyBytes_GET_SIZE(columns), rows)

    def pack_lines(self, result):
        """Have a list of strings ready, as lines, for ``publish_packed``: the usual result on its shortest way.

        False, and nothing is ready, where ``text_rows`` must look closer, for any other type, and for more than
        ``PACKED_SIZE_MAX`` bytes.
        """
        if type(result) is not list:
            return False
        cdef list elements = <list>result
        cdef Py_ssize_t size = _lines_size(elements)
        if size < 0 or size > _PACKED_SIZE_MAX:
            return False
        self.outbox.used = 0
        cdef uint8_t *room = bf_reserve(&self.outbox, size)
        if room == NULL:
            raise MemoryError("no memory for a result")
        if not _write_lines(elements, <char *>room):
            return False
        self.outbox.used = size
        self.packed_count = PyList_GET_SIZE(elements)
        return True

    def publish_packed(self, uint64_t index, uint32_t attempt):
        """Publish what ``pack_lines`` has made ready."""
        self.publish(BF_RESULT, index, attempt, self.packed_count, 0, self.outbox.bytes, self.outbox.used)

    def publish_failure(self, uint64_t index, uint32_t attempt, bytes description not None):
        """Publish that the attempt failed, with its description (JSON)."""
        self.publish_bytes(BF_FAILURE, index, attempt, 0, 0, description)

    def publish_ready(self):
        """Publish that ``init()`` is over."""
        self.publish(BF_READY, 0, 0, 0, 0, NULL, 0)

    def publish_init_failed(self, bytes description not None):
        """Publish that ``init()`` failed, with the description (JSON)."""
        self.publish_bytes(BF_INIT_FAILED, 0, 0, 0, 0, description)

    cdef publish_bytes(self, int kind, uint64_t index, uint32_t attempt, uint64_t returned, uint64_t columns_size,
                       bytes payload):
        self.publish(kind, index, attempt, returned, columns_size,
                     <const uint8_t *>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))

    cdef publish(self, int kind, uint64_t index, uint32_t attempt, uint64_t returned, uint64_t columns_size,
                 const uint8_t *payload, uint64_t size):
        cdef bf_outgoing answer
        memset(&answer, 0, sizeof(answer))
        answer.record.kind = kind
        answer.record.index = index
        answer.record.attempt = attempt
        answer.record.count = returned
        answer.record.columns_size = <uint32_t>columns_size
        answer.bytes = payload
        answer.left = size
        cdef int sent = bf_send(&self.port, &answer)
        while sent == 0:
            if self.has_laps:
                bf_begin_lap(self.port.shared, BF_LAP_BLOCKED)
            self.sleep(&answer)
            if self.has_laps:
                bf_begin_lap(self.port.shared, BF_LAP_PUBLISH)
            sent = bf_send(&self.port, &answer)
        if sent < 0:
            _raise_closed()

    cdef sleep(self, const bf_outgoing *answer):
        """Sleep until there is a request, or room for more of ``answer``, or a signal."""
        cdef int is_ours
        with nogil:
            is_ours = bf_port_sleep(&self.port, answer)
        if not is_ours:
            _raise_closed()
        PyErr_CheckSignals()


cdef _raise_closed():
    raise OSError(errno, "the descriptors of this worker are not its own any more")
