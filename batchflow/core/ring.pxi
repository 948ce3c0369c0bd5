# The two ends of a worker's rings.  Layout and protocol: ring.h.  The driver's books: channel.h.

cdef extern from "core/channel.h" nogil:
    enum: BF_PAGE
    enum: BF_SHARED_MAGIC
    enum: BF_REQUEST_RUN
    enum: BF_REQUEST_CALL
    enum: BF_REQUEST_STOP
    enum: BF_RESULT
    enum: BF_FAILURE
    enum: BF_READY
    enum: BF_INIT_FAILED
    enum: BF_NOTE_COLUMNS
    enum: BF_NOTE_DAMAGED
    enum: BF_NOTE_PART
    enum: BF_FLAG_MORE
    enum: BF_EMPTY
    enum: BF_FOUND
    enum: BF_DAMAGED
    enum: BF_NO_MEMORY
    ctypedef struct bf_shared:
        uint64_t magic, request_size, completion_size, start
        uint32_t version, generation
        uint64_t request_tail, request_head, completion_tail, completion_head
        uint32_t worker_word, worker_sleeping, driver_sleeping, urgent
        uint64_t low_water, started_sequence, started_ns
        uint32_t spin_ns, grace_ns, driver_cpu, state, pid
    ctypedef struct bf_record:
        uint32_t payload_size, attempt, columns_size
        uint64_t sequence, index, count, extra
        uint16_t kind, flags
    ctypedef struct bf_ring:
        uint64_t size, position, peer, sequence
        uint64_t *tail
        uint64_t *head
    ctypedef struct bf_patience:
        uint32_t misses, pause
    ctypedef struct bf_buffer:
        uint8_t *bytes
        uint64_t used, capacity
    ctypedef struct bf_flight:
        uint64_t index, start, items, sequence
        uint32_t attempt
        int is_part
    ctypedef struct bf_channel:
        bf_shared *shared
        bf_ring request, completion
        bf_flight *flights
        uint64_t flight_capacity, flight_first, flight_count
        bf_buffer assembly
        uint64_t max_result_size, result_count, result_size, run_ns, arrived_items
    ctypedef struct bf_note:
        uint32_t kind, attempt
        uint64_t index, returned, start, items, size, columns_size
        uint8_t *bytes
    enum: BF_LAPS
    enum: BF_LAP_PUBLISH
    enum: BF_LAP_BLOCKED
    uint64_t bf_rings_size(uint64_t request_size, uint64_t completion_size)
    void bf_shared_init(bf_shared *shared, uint64_t request_size, uint64_t completion_size, uint32_t generation,
                        uint64_t start)
    void bf_ring_open(bf_ring *ring, bf_shared *shared, int completion)
    uint64_t bf_frame_size(const bf_ring *ring)
    int bf_try_write(bf_ring *ring, bf_record *record, const void *payload)
    void bf_publish(bf_ring *ring)
    void bf_wake_worker(bf_shared *shared)
    int bf_spin(bf_patience *patience, const uint64_t *word, uint64_t seen, uint64_t limit_ns)
    uint64_t bf_load_acquire(const uint64_t *word)
    void bf_store_release(uint64_t *word, uint64_t value)
    uint32_t bf_load32(const uint32_t *word)
    void bf_store32(uint32_t *word, uint32_t value)
    uint8_t *bf_reserve(bf_buffer *buffer, uint64_t size)
    void bf_buffer_free(bf_buffer *buffer)
    int bf_request_run(bf_channel *channel, const bf_flight *asked)
    int bf_add_flight(bf_channel *channel, const bf_flight *flight)
    int bf_first_flight_started(const bf_channel *channel)
    int bf_go_to_sleep(bf_channel *channel, int is_sending)
    void bf_get_up(bf_channel *channel)

cdef extern from "<sched.h>" nogil:
    int sched_getcpu()

cdef extern from "core/laps.h" nogil:
    ctypedef struct bf_lap_times:
        uint64_t *spent_ns
        uint64_t open_ns
        uint32_t lap
    void bf_begin_lap(bf_shared *shared, uint32_t lap)
    int bf_read_laps(const bf_shared *shared, bf_lap_times *times)

LAPS = ("init", "wait", "decode", "run", "encode", "publish", "blocked")
cdef dict _LAP_NUMBERS = {lap: number for number, lap in enumerate(LAPS)}

REQUEST_RUN = BF_REQUEST_RUN
REQUEST_CALL = BF_REQUEST_CALL
RESULT = BF_RESULT
FAILURE = BF_FAILURE
READY = BF_READY
INIT_FAILED = BF_INIT_FAILED
COLUMNS_DIFFER = BF_NOTE_COLUMNS
DAMAGED = BF_NOTE_DAMAGED
PART = BF_NOTE_PART
_STATES = ("starting", "init", "idle", "running", "shutdown")


cdef inline bint _is_ring_size(uint64_t size):
    return size >= BF_PAGE and (size & (size - 1)) == 0 and size <= (<uint64_t>1 << 40)


cdef class Channel:
    """The driver's end of one worker's rings.

    Owns the memfd until it is sent to the worker.  ``flights()`` is what the worker was given and has not answered, in
    order.  Not thread-safe: one thread drives it.
    """

    cdef bf_channel channel
    cdef bf_patience patience
    cdef bf_buffer scratch  # one frame, as long as it is checked
    cdef uint64_t mapped_size
    cdef readonly int fd
    cdef readonly uint32_t generation
    cdef object pending  # bytes of a CALL that did not fit yet
    cdef uint64_t pending_offset, pending_index
    cdef uint32_t pending_attempt

    def __cinit__(self, *, uint64_t request_size=1 << 18, uint64_t completion_size=1 << 20, uint32_t generation=1,
                  uint64_t max_result_size=1 << 28, uint64_t start=0):
        self.fd = -1
        if not _is_ring_size(request_size) or not _is_ring_size(completion_size):
            raise ValueError(f"ring sizes must be powers of two of at least a page, {request_size=}, {completion_size=}")
        if start % 8:
            raise ValueError(f"the start position must be a multiple of 8, {start=}")
        self.mapped_size = bf_rings_size(request_size, completion_size)
        self.fd = memfd_create(b"batchflow-rings", MFD_CLOEXEC | MFD_ALLOW_SEALING)
        if self.fd < 0:
            raise OSError(errno, "cannot make shared memory for the rings of a worker")
        # Allocate now: no memory is an error here, not a SIGBUS later.
        cdef int failed = posix_fallocate(self.fd, 0, <off_t>self.mapped_size)
        if failed:
            raise OSError(failed, f"cannot allocate {self.mapped_size} bytes of shared memory for the rings of a worker")
        fcntl(self.fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
        cdef void *mapping = mmap(NULL, self.mapped_size, PROT_READ | PROT_WRITE, MAP_SHARED, self.fd, 0)
        if mapping == MAP_FAILED:
            raise OSError(errno, "cannot map the rings of a worker")
        cdef bf_shared *shared = <bf_shared *>mapping
        bf_shared_init(shared, request_size, completion_size, generation, start)
        self.generation = generation
        self.channel.shared = shared
        self.channel.max_result_size = max_result_size
        bf_ring_open(&self.channel.request, shared, 0)
        bf_ring_open(&self.channel.completion, shared, 1)
        self.pending = None

    def __dealloc__(self):
        self.close_fd()
        if self.channel.shared != NULL:
            munmap(self.channel.shared, self.mapped_size)
        free(self.channel.flights)
        bf_buffer_free(&self.channel.assembly)
        bf_buffer_free(&self.scratch)

    def close_fd(self):
        """Close the descriptor once the worker has it; the mapping stays."""
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1

    def run(self, uint64_t index, uint32_t attempt, uint64_t start, uint64_t count, bint part=False):
        """Ask for one attempt of items ``start`` to ``start + count`` of a mini-batch; False if the ring is full."""
        cdef bf_flight flight
        flight.index, flight.attempt, flight.start, flight.items = index, attempt, start, count
        flight.is_part = part
        cdef int outcome = bf_request_run(&self.channel, &flight)
        if outcome < 0:
            raise MemoryError("no memory for the books of a worker")
        self.publish()
        return outcome == 1

    def run_range(self, uint64_t first, uint64_t stop, uint64_t start, uint64_t mini_batch_size, uint64_t stop_item):
        """Ask for the first attempts of mini-batches ``first`` to ``stop``, as many as fit; returns how many did.

        They are the consecutive mini-batches of the items from ``start`` on, the last cut at ``stop_item``.
        """
        cdef bf_flight flight
        cdef int outcome = 1
        flight.index, flight.attempt, flight.start, flight.is_part = first, 1, start, False
        with nogil:
            while flight.index < stop and outcome == 1:
                flight.items = min(mini_batch_size, stop_item - flight.start)
                outcome = bf_request_run(&self.channel, &flight)
                if outcome == 1:
                    flight.index += 1
                    flight.start += flight.items
            self.publish()
        if outcome < 0:
            raise MemoryError("no memory for the books of a worker")
        return flight.index - first

    def call(self, uint64_t index, uint32_t attempt, bytes payload not None):
        """Ask for one attempt of a mini-batch sent as bytes; what does not fit is sent by ``flush``.

        Returns False, and takes nothing, while an earlier payload is still being sent.
        """
        cdef bint taken = self.take_in(index, attempt, payload)
        self.publish()
        return taken

    def call_all(self, ready not None, dict payloads not None, dict attempts not None, uint64_t room):
        """Ask for the first ``room`` calls of the deque ``ready``, by their numbers; take those from it that were taken."""
        while room and ready:
            index = ready[0]
            if not self.take_in(index, attempts.get(index, 1) if attempts else 1, payloads[index]):
                break
            ready.popleft()
            room -= 1
        self.publish()

    def call_first(self, calls not None, dict payloads not None):
        """Ask for the first of ``calls``, and move it to ``payloads``: both or neither, whenever a signal comes."""
        cdef bytes payload
        index, payload = calls.popleft()
        payloads[index] = payload
        self.take_in(index, 1, payload)
        self.publish()
        return PyBytes_GET_SIZE(payload)

    cdef bint take_in(self, uint64_t index, uint32_t attempt, bytes payload) except -1:
        """One more payload, unpublished; False while an earlier one is still being sent."""
        if self.pending is not None and not self.write_pending():
            return False
        self.pending = payload
        self.pending_offset = 0
        self.pending_index = index
        self.pending_attempt = attempt
        self.write_pending()
        return True

    def flush(self):
        """Send more of the payload in hand; True when nothing is left to send."""
        if self.pending is None:
            return True
        cdef bint done = self.write_pending()
        self.publish()
        return done

    cdef bint write_pending(self) except -1:
        if self.pending is None:
            return True
        cdef bf_record record
        cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(self.pending)
        cdef bf_flight flight
        cdef uint64_t size = PyBytes_GET_SIZE(self.pending), left
        cdef uint64_t frame = bf_frame_size(&self.channel.request)
        cdef bint done = False
        while not done:
            left = size - self.pending_offset
            done = left <= frame
            memset(&record, 0, sizeof(record))
            record.kind = BF_REQUEST_CALL
            record.index = self.pending_index
            record.attempt = self.pending_attempt
            record.flags = 0 if done else BF_FLAG_MORE
            record.payload_size = <uint32_t>(left if done else frame)
            flight.sequence = self.channel.request.sequence
            if not bf_try_write(&self.channel.request, &record, data + self.pending_offset):
                return False
            self.pending_offset += record.payload_size
        flight.index = flight.start = self.pending_index
        flight.attempt, flight.items, flight.is_part = self.pending_attempt, 1, False
        if bf_add_flight(&self.channel, &flight) < 1:
            raise MemoryError("no memory for the books of a worker")
        self.pending = None
        return True

    def stop(self):
        """Ask the worker to shut down after what it has; False if the ring is full."""
        cdef bf_record record
        memset(&record, 0, sizeof(record))
        record.kind = BF_REQUEST_STOP
        cdef bint written = bf_try_write(&self.channel.request, &record, b"")
        self.publish()
        return written

    cdef void publish(self) noexcept nogil:
        bf_publish(&self.channel.request)
        bf_wake_worker(self.channel.shared)

    @property
    def in_flight(self):
        """How many mini-batches the worker was given and has not answered, one half sent included."""
        return self.channel.flight_count + (self.pending is not None)

    def flights(self):
        """``(mini_batch_index, attempt, start, count)`` of each of them, in the order in which they were given."""
        cdef bf_flight *flight
        cdef uint64_t k
        answer = []
        for k in range(self.channel.flight_count):
            flight = &self.channel.flights[(self.channel.flight_first + k) & (self.channel.flight_capacity - 1)]
            answer.append((flight.index, flight.attempt, flight.start, flight.items))
        if self.pending is not None:
            answer.append((self.pending_index, self.pending_attempt, self.pending_index, 1))
        return answer

    @property
    def first_started(self):
        """Has the worker begun the first flight?  Ask after a drain."""
        return bf_first_flight_started(&self.channel) != 0

    @property
    def started_sequence(self):
        """Grows with every request that the worker begins."""
        return bf_load_acquire(&self.channel.shared.started_sequence)

    @property
    def state(self):
        """What the worker says it does: starting, init, idle, running or shutdown."""
        cdef uint32_t state = bf_load32(&self.channel.shared.state)
        return _STATES[state] if state < 5 else "unknown"

    @property
    def result_count(self):
        """Attempts answered so far."""
        return self.channel.result_count

    @property
    def result_size(self):
        """Bytes of those answers."""
        return self.channel.result_size

    @property
    def run_ns(self):
        """Nanoseconds that those attempts took in the worker."""
        return self.channel.run_ns

    @property
    def laps(self):
        """What the worker says its time has gone into so far, ``(lap, ns, nanoseconds of each of LAPS)``, or None.

        ``lap`` is what it does now, for ``ns``, which the others do not contain.  None: it keeps no laps.  Any number
        may stand there if the worker wrote over its memory.
        """
        cdef bf_lap_times times
        if not bf_read_laps(self.channel.shared, &times) or times.lap >= BF_LAPS:
            return None
        return LAPS[times.lap], times.open_ns, tuple([times.spent_ns[lap] for lap in range(BF_LAPS)])

    @property
    def arrived_items(self):
        """Items of the mini-batches that came back with a result."""
        return self.channel.arrived_items

    def set_low_water(self, uint64_t request_count):
        """The worker shall wake a sleeping driver when no more than so many requests are left to it."""
        bf_store_release(&self.channel.shared.low_water, request_count * sizeof(bf_record))

    @property
    def is_drained(self):
        """Nothing is published that was not taken."""
        return bf_load_acquire(&self.channel.shared.completion_tail) == self.channel.completion.position

    def go_to_sleep(self):
        """Say that the driver is about to sleep; False if this worker needs it: then do not sleep.

        It is needed when answers wait that the worker would wake it for, and when there is room again for a payload that
        is half sent.
        """
        return bf_go_to_sleep(&self.channel, self.pending is not None) != 0

    def get_up(self):
        """Say that the driver is awake, and will drain now."""
        bf_get_up(&self.channel)

    def set_spin(self, uint32_t spin_ns, uint32_t grace_ns=0):
        """How long the worker may look for its next request before it sleeps; and wait, then, before it wakes us."""
        cdef bf_shared *shared = self.channel.shared
        if shared.spin_ns != spin_ns:
            bf_store32(&shared.spin_ns, spin_ns)
        if shared.grace_ns != grace_ns:
            bf_store32(&shared.grace_ns, grace_ns)

    def look(self, uint64_t limit_ns):
        """Look for an answer for up to ``limit_ns``, without the interpreter and without sleeping; True: there is one."""
        cdef int found
        bf_store32(&self.channel.shared.driver_cpu, 1 + sched_getcpu())
        with nogil:
            found = bf_spin(&self.patience, self.channel.completion.tail, self.channel.completion.position, limit_ns)
        return found != 0

    def drain(self):
        """Take every answer published so far, as a list of notes (see ``Gather.drain``)."""
        return _drain(self, None)

    def drain_calls(self, dict payloads not None, dict attempts not None, dict values not None, list notes not None):
        """Take every answer published so far: results into ``values``, by the call's number; the calls go from the others.

        Other notes go to ``notes``.  Returns the bytes of the results, and those of their calls.
        """
        return _drain_calls(self, payloads, attempts, values, notes)
