/* The worker's end: requests in, answers out, and a note of what it is doing.
 *
 * Nothing here waits, but bf_port_sleep; it returns for no reason now and then, so the caller looks again.
 */
#ifndef BF_PORT_H
#define BF_PORT_H

#include <unistd.h>

#include "append.h"
#include "ring.h"

/* A mini-batch that took so long can afford the system call that goes back to the working directory. */
#define BF_HOME_NS 20000

typedef struct {
    bf_shared *shared;
    bf_ring request, completion;
    bf_buffer inbox; /* the payload of the request in hand */
    uint64_t taken_ns;
    bf_patience patience; /* with the next request */
    int event_fd;
    int home_fd; /* the working directory, -1 if nobody cares */
} bf_port;

/* An answer, as far as it is not sent. */
typedef struct {
    bf_record record; /* kind, index, attempt, count and columns_size are the caller's */
    const uint8_t *bytes;
    uint64_t left;
    int is_over; /* the time it took has been taken */
} bf_outgoing;

static void bf_port_open(bf_port *port, bf_shared *shared, int event_fd) {
    memset(port, 0, sizeof *port);
    port->shared = shared;
    port->event_fd = event_fd;
    port->home_fd = -1;
    bf_ring_open(&port->request, shared, 0);
    bf_ring_open(&port->completion, shared, 1);
}

/* Take the next whole request into `request` (its last record) and `inbox`, and note that it has begun.  Returns its kind,
 * BF_EMPTY as long as there is no more of it, BF_DAMAGED, BF_NO_MEMORY.  Empty the inbox before each request. */
static int bf_take_request(bf_port *port, bf_record *request) {
    int found;
    while ((found = bf_peek(&port->request, request)) == BF_FOUND) {
        uint8_t *room = bf_reserve(&port->inbox, request->payload_size);
        if (room == NULL)
            return BF_NO_MEMORY;
        if (bf_read(&port->request, request, room) != BF_FOUND)
            return BF_DAMAGED;
        bf_give_back(&port->request);
        port->inbox.used += request->payload_size;
        if (request->kind == BF_REQUEST_STOP)
            return BF_REQUEST_STOP;
        if (request->flags & BF_FLAG_MORE)
            continue;
        port->taken_ns = bf_now_ns();
        port->shared->started_ns = port->taken_ns;
        bf_store32(&port->shared->state, BF_STATE_RUNNING);
        /* Release: from here on this request is to blame for a death of the worker. */
        bf_store_release(&port->shared->started_sequence, request->sequence + 1);
        return request->kind;
    }
    return found;
}

/* Go back to the working directory.  0 if that is not possible: then our descriptors were closed, and another file may
 * have the number of the eventfd by now. */
static int bf_go_home(const bf_port *port) {
    return port->home_fd < 0 || fchdir(port->home_fd) == 0;
}

/* Wake the driver if it sleeps.  0 if the eventfd may be a file of somebody else's. */
static int bf_announce(const bf_port *port) {
    bf_full_fence();
    if (!bf_load32(&port->shared->driver_sleeping))
        return 1;
    if (!bf_go_home(port))
        return 0;
    bf_wake_driver(port->shared, port->event_fd);
    return 1;
}

/* Does the driver take by itself, within the time it has named, all that we have published?  Then nobody is to be woken. */
static int bf_is_heard(const bf_port *port) {
    const bf_shared *shared = port->shared;
    uint64_t grace_ns, begun_ns = 0, now_ns = 0;
    while (bf_load_acquire(port->completion.head) != port->completion.position) {
        grace_ns = bf_load32(&shared->grace_ns);
        now_ns = grace_ns ? bf_now_ns() : 0;
        begun_ns = begun_ns ? begun_ns : now_ns;
        if (now_ns - begun_ns >= (grace_ns < BF_SPIN_MAX_NS ? grace_ns : BF_SPIN_MAX_NS))
            return 0;
        bf_relax();
    }
    return 1;
}

/* Publish as much of an answer as there is room for.  1 all of it, 0 not yet, -1 if our descriptors were closed. */
static int bf_send(bf_port *port, bf_outgoing *answer) {
    bf_shared *shared = port->shared;
    uint64_t frame = bf_frame_size(&port->completion), columns_size = answer->record.columns_size;
    int is_last = 0, is_done = answer->record.kind == BF_RESULT || answer->record.kind == BF_FAILURE;
    while (!is_last) {
        bf_record record = answer->record;
        is_last = answer->left <= frame;
        record.flags = is_last ? 0 : BF_FLAG_MORE;
        record.payload_size = (uint32_t)(is_last ? answer->left : frame);
        record.columns_size = is_last ? (uint32_t)columns_size : 0;
        if (is_last && is_done && !answer->is_over) {
            answer->record.extra = record.extra = bf_now_ns() - port->taken_ns;
            answer->is_over = 1;
            bf_store32(&shared->state, BF_STATE_IDLE);
            if (record.extra >= BF_HOME_NS && !bf_go_home(port))
                return -1;
        }
        if (!bf_try_write(&port->completion, &record, answer->bytes))
            return 0;
        bf_publish(&port->completion);
        answer->bytes += record.payload_size;
        answer->left -= record.payload_size;
    }
    if (answer->record.kind != BF_RESULT)
        bf_store32(&shared->urgent, 1);
    /* Full fence: our position is visible before we look at the low-water mark, which a driver about to sleep may
     * raise. */
    bf_full_fence();
    uint64_t left = bf_load_acquire(port->request.tail) - port->request.position;
    if (bf_needs_driver(shared, left, port->completion.position - bf_load_acquire(port->completion.head)) &&
        !(left == 0 && bf_is_heard(port)))
        return bf_announce(port) ? 1 : -1;
    return 1;
}

/* Leave a processor, for this moment; no more than a wish: where it is refused, nothing is lost. */
static void bf_leave_cpu(unsigned cpu) {
    cpu_set_t allowed, others;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    others = allowed;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
        sched_setaffinity(0, sizeof allowed, &allowed);
}

/* Look for a request before going to sleep.  Who looks on the processor that the other one needs looks in vain, and the
 * kernel leaves two that wake each other by turns where they are. */
static int bf_look(bf_port *port) {
    uint32_t spin_ns = bf_load32(&port->shared->spin_ns), driver_cpu = bf_load32(&port->shared->driver_cpu);
    if (spin_ns && driver_cpu && port->patience.pause == 0 && sched_getcpu() == (int)driver_cpu - 1)
        bf_leave_cpu(driver_cpu - 1);
    return bf_spin(&port->patience, port->request.tail, port->request.position, spin_ns);
}

/* Sleep until the driver has done something, unless it has: made room for more of `answer`, or (NULL) asked.  0 if our
 * descriptors were closed. */
static int bf_port_sleep(bf_port *port, const bf_outgoing *answer) {
    bf_shared *shared = port->shared;
    const bf_ring *ring = answer ? &port->completion : &port->request;
    if (answer == NULL && port->inbox.used == 0 && bf_look(port))
        return 1;
    if (!bf_announce(port))
        return 0;
    uint32_t word = bf_load32(&shared->worker_word);
    bf_store32(&shared->worker_sleeping, 1);
    /* Full fence: the driver sees that we sleep, or we see what it has done. */
    bf_full_fence();
    int is_due;
    if (answer) {
        uint64_t frame = bf_frame_size(ring), needed = bf_record_size(answer->left < frame ? answer->left : frame);
        is_due = ring->position + needed - bf_load_acquire(ring->head) <= ring->size;
    } else {
        is_due = bf_load_acquire(ring->tail) != ring->position;
    }
    if (!is_due)
        bf_futex_wait(&shared->worker_word, word);
    bf_store32(&shared->worker_sleeping, 0);
    return 1;
}

#endif
