# The worker's end of its rings.

cdef class Port:
    """Take requests, publish answers, and keep the flight recorder.

    ``attach`` maps the memfd; ``event_fd`` is the eventfd that wakes the driver.
    """

    cdef bf_shared *shared
    cdef uint64_t mapped_size
    cdef bf_ring request, completion
    cdef int event_fd
    cdef bf_buffer inbox
    cdef uint64_t taken_ns

    def __cinit__(self, int fd, int event_fd, uint32_t generation):
        cdef off_t size = lseek(fd, 0, SEEK_END)
        if size < <off_t>(3 * BF_PAGE):
            raise ValueError(f"not the rings of a worker, {size=}")
        cdef void *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if mapping == MAP_FAILED:
            raise OSError(errno, "cannot map the rings of this worker")
        self.mapped_size = size
        self.shared = <bf_shared *>mapping
        self.event_fd = event_fd
        if (self.shared.magic != BF_SHARED_MAGIC or self.shared.version != 1 or self.shared.generation != generation
                or not _is_ring_size(self.shared.request_size) or not _is_ring_size(self.shared.completion_size)
                or bf_rings_size(self.shared.request_size, self.shared.completion_size) != self.mapped_size):
            raise ValueError(f"not the rings of this worker, {generation=}")
        # A child that the user's code forks must not answer in our name: it does not get the mapping.
        madvise(mapping, self.mapped_size, MADV_DONTFORK)
        bf_ring_open(&self.request, self.shared, 0)
        bf_ring_open(&self.completion, self.shared, 1)
        self.shared.pid = getpid()

    def __dealloc__(self):
        if self.shared != NULL:
            munmap(self.shared, self.mapped_size)
        bf_buffer_free(&self.inbox)

    def set_state(self, str state not None):
        """Tell the driver what this worker does now."""
        bf_store32(&self.shared.state, _STATES.index(state))

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
        return record.index, record.attempt, PyBytes_FromStringAndSize(<char *>self.inbox.bytes, self.inbox.used)

    cdef int next_request(self, bf_record *request) except -1:
        """Wait for a whole request, of which the last record is left in ``request``, and note that it has begun."""
        cdef bf_record record
        cdef int found
        cdef uint8_t *room
        self.inbox.used = 0
        while True:
            with nogil:
                found = bf_peek(&self.request, &record)
            if found == BF_EMPTY:
                self.sleep(&self.request, 0)
                continue
            room = bf_reserve(&self.inbox, record.payload_size) if found == BF_FOUND else NULL
            if found == BF_FOUND and room == NULL:
                raise MemoryError("no memory for a request")
            if found == BF_FOUND:
                found = bf_read(&self.request, &record, room)
            if found != BF_FOUND:
                raise ValueError("the request ring is damaged")
            bf_give_back(&self.request)
            self.inbox.used += record.payload_size
            request[0] = record
            if record.kind == BF_REQUEST_STOP:
                return BF_REQUEST_STOP
            if record.flags & BF_FLAG_MORE:
                continue
            self.taken_ns = bf_now_ns()
            self.shared.started_ns = self.taken_ns
            bf_store32(&self.shared.state, BF_STATE_RUNNING)
            # Release: from here on this request is to blame for a death of the worker.
            bf_store_release(&self.shared.started_sequence, record.sequence + 1)
            return record.kind

    def publish_result(self, uint64_t index, uint32_t attempt, uint64_t returned, bytes columns not None,
                       bytes rows not None):
        """Publish what ``run()`` gave: ``returned`` elements, the bytes that name the columns, the bytes of the rows."""
        if PyBytes_GET_SIZE(columns):
            rows = columns + rows
        self.publish(BF_RESULT, index, attempt, returned, PyBytes_GET_SIZE(columns), rows)

    def publish_failure(self, uint64_t index, uint32_t attempt, bytes description not None):
        """Publish that the attempt failed, with its description (JSON)."""
        self.publish(BF_FAILURE, index, attempt, 0, 0, description)

    def publish_ready(self):
        """Publish that ``init()`` is over."""
        self.publish(BF_READY, 0, 0, 0, 0, b"")

    def publish_init_failed(self, bytes description not None):
        """Publish that ``init()`` failed, with the description (JSON)."""
        self.publish(BF_INIT_FAILED, 0, 0, 0, 0, description)

    cdef publish(self, int kind, uint64_t index, uint32_t attempt, uint64_t returned, uint64_t columns_size,
                 bytes payload):
        cdef bf_record record
        cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(payload)
        cdef uint64_t left = PyBytes_GET_SIZE(payload), frame = bf_frame_size(&self.completion), remaining
        cdef bint last = False
        while not last:
            last = left <= frame
            memset(&record, 0, sizeof(record))
            record.kind = kind
            record.index = index
            record.attempt = attempt
            record.count = returned
            record.flags = 0 if last else BF_FLAG_MORE
            record.payload_size = <uint32_t>(left if last else frame)
            if last and (kind == BF_RESULT or kind == BF_FAILURE):
                record.columns_size = <uint32_t>columns_size
                record.extra = bf_now_ns() - self.taken_ns
                bf_store32(&self.shared.state, BF_STATE_IDLE)
            while not bf_try_write(&self.completion, &record, data):
                self.sleep(&self.completion, bf_record_size(record.payload_size))
            bf_publish(&self.completion)
            data += record.payload_size
            left -= record.payload_size
        if kind != BF_RESULT:
            bf_store32(&self.shared.urgent, 1)
        # Full fence: our position is visible before we look at the low-water mark, which a driver about to sleep may raise.
        bf_full_fence()
        remaining = bf_load_acquire(self.request.tail) - self.request.position
        if bf_needs_driver(self.shared, remaining, self.completion.position - bf_load_acquire(self.completion.head)):
            bf_wake_driver(self.shared, self.event_fd)

    cdef sleep(self, bf_ring *ring, uint64_t needed):
        """Sleep until the driver has done something, unless it has: ``needed`` bytes of room, or (0) a request."""
        cdef uint32_t word
        cdef bint due
        with nogil:
            bf_wake_driver(self.shared, self.event_fd)
            word = bf_load32(&self.shared.worker_word)
            bf_store32(&self.shared.worker_sleeping, 1)
            bf_full_fence()
            if needed:
                due = ring.position + needed - bf_load_acquire(ring.head) <= ring.size
            else:
                due = bf_load_acquire(ring.tail) != ring.position
            if not due:
                bf_futex_wait(&self.shared.worker_word, word)
            bf_store32(&self.shared.worker_sleeping, 0)
        PyErr_CheckSignals()
