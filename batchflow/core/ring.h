/* One pair of single-producer single-consumer byte rings for one worker, in one shared mapping.
 *
 * No lock is shared: a side that dies at any instruction leaves each record fully visible or invisible.
 *
 *   0     magic, version, generation, sizes, start   written once, before the worker exists
 *   128   request tail       uint64  bytes ever published by the driver
 *   256   request head       uint64  bytes ever consumed by the worker
 *   384   completion tail    uint64  bytes ever published by the worker
 *   512   completion head    uint64  bytes ever consumed by the driver
 *   640   worker's bed       futex word, worker_sleeping
 *   768   driver's bed       driver_sleeping, urgent, low_water, spin_ns, grace_ns, driver_cpu
 *   896   flight recorder    what the worker is doing now, written by the worker
 *   1024  laps               what its time goes into, where somebody asks: laps.h
 *   4096  request bytes      [request_size]          sizes are powers of two and whole pages
 *   ...   completion bytes   [completion_size]
 *
 * Always: 0 <= tail - head <= size; tail is written by the producer alone, head by the consumer alone.
 * Each side keeps its own position in private memory and never reads it back, so a wild write into the mapping
 * can damage what the worker says, not what the driver believes.
 */
#ifndef BF_RING_H
#define BF_RING_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "crc32c.h"

_Static_assert(__atomic_always_lock_free(sizeof(uint64_t), 0), "64-bit atomics must be lock-free");
_Static_assert(__atomic_always_lock_free(sizeof(uint32_t), 0), "32-bit atomics must be lock-free");

#ifdef BF_PERTURB
/* Make rare interleavings common: give the processor away around atomic accesses, one time in eight. */
static __thread uint32_t bf_perturb_state;
static void bf_perturb(void) {
    if (bf_perturb_state == 0)
        bf_perturb_state = (uint32_t)getpid() * 2654435761u + 1;
    bf_perturb_state = bf_perturb_state * 1664525u + 1013904223u;
    if ((bf_perturb_state >> 24) % 8 == 0)
        sched_yield();
}
#else
#define bf_perturb() ((void)0)
#endif

static inline uint64_t bf_load_acquire(const uint64_t *word) {
    bf_perturb();
    uint64_t value = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    bf_perturb();
    return value;
}
static inline void bf_store_release(uint64_t *word, uint64_t value) {
    bf_perturb();
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    bf_perturb();
}
static inline uint32_t bf_load32(const uint32_t *word) {
    bf_perturb();
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}
static inline void bf_store32(uint32_t *word, uint32_t value) {
    bf_perturb();
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
    bf_perturb();
}
/* Set to 0 in one indivisible step with reading, so that what was written before the 1 is seen. */
static inline uint32_t bf_take32(uint32_t *word) {
    bf_perturb();
    uint32_t value = __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST);
    bf_perturb();
    return value;
}
static inline void bf_full_fence(void) {
    bf_perturb();
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    bf_perturb();
}

#define BF_PAGE 4096u
#define BF_SHARED_MAGIC 0x31676e69726662ull /* "bfring1" */
#define BF_RECORD_MAGIC 0x64636572u         /* "recd" */

enum { BF_REQUEST_RUN = 1, BF_REQUEST_CALL = 2, BF_REQUEST_STOP = 3 };
enum { BF_RESULT = 1, BF_FAILURE = 2, BF_READY = 3, BF_INIT_FAILED = 4 };
enum { BF_FLAG_MORE = 1 };
enum { BF_LAP_INIT = 0, BF_LAP_WAIT, BF_LAP_DECODE, BF_LAP_RUN, BF_LAP_ENCODE, BF_LAP_PUBLISH, BF_LAP_BLOCKED, BF_LAPS };
enum { BF_STATE_STARTING = 0, BF_STATE_INIT = 1, BF_STATE_IDLE = 2, BF_STATE_RUNNING = 3, BF_STATE_SHUTDOWN = 4 };

typedef struct {
    uint64_t magic;
    uint32_t version, generation;
    uint64_t request_size, completion_size;
    uint64_t start; /* the first position of both rings: 0, or near a limit in tests */
    _Alignas(128) uint64_t request_tail;
    _Alignas(128) uint64_t request_head;
    _Alignas(128) uint64_t completion_tail;
    _Alignas(128) uint64_t completion_head;
    _Alignas(128) uint32_t worker_word;
    uint32_t worker_sleeping;
    _Alignas(128) uint32_t driver_sleeping;
    uint32_t urgent;    /* the worker has published what cannot wait; the driver clears it */
    uint64_t low_water; /* the worker wakes the driver when so few request bytes are left */
    uint32_t spin_ns;   /* how long the worker may look for requests before it sleeps; 0: another needs its processor */
    uint32_t grace_ns;  /* so long a worker without work leaves the driver asleep, who will look by itself; else 0 */
    uint32_t driver_cpu; /* 1 + the processor on which the driver looked for answers last */
    _Alignas(128) uint64_t started_sequence; /* 1 + the sequence of the request in hand; 0 before the first */
    uint64_t started_ns;                     /* CLOCK_MONOTONIC */
    uint32_t state, pid;
    _Alignas(128) uint64_t lap_since_ns; /* CLOCK_MONOTONIC; 0: nobody asked */
    uint64_t spent_ns[BF_LAPS];
    uint32_t lap;
} bf_shared;
_Static_assert(sizeof(bf_shared) <= BF_PAGE, "the head must fit one page");
_Static_assert(__builtin_offsetof(bf_shared, request_tail) == 128, "as drawn");
_Static_assert(__builtin_offsetof(bf_shared, completion_head) == 512, "as drawn");
_Static_assert(__builtin_offsetof(bf_shared, worker_word) == 640, "as drawn");
_Static_assert(__builtin_offsetof(bf_shared, started_sequence) == 896, "as drawn");
_Static_assert(__builtin_offsetof(bf_shared, lap_since_ns) == 1024, "as drawn");

/* A record: this header, then payload_size bytes, then padding to 8. */
typedef struct {
    uint32_t magic, payload_size;
    uint64_t sequence; /* records of this ring so far */
    uint32_t crc;      /* of the header with crc = 0, then the payload */
    uint32_t generation;
    uint64_t index; /* mini-batch */
    uint32_t attempt;
    uint16_t kind, flags;
    uint64_t count; /* RUN: first item.   RESULT: elements returned */
    uint64_t extra; /* RUN: item count.   RESULT: nanoseconds that run() and encoding took */
    uint32_t columns_size; /* RESULT: the payload begins with so many bytes of column names */
    uint32_t reserved;
} bf_record;
_Static_assert(sizeof(bf_record) == 64, "one cache line");

typedef struct {
    uint8_t *data;
    uint64_t size;
    uint64_t *tail, *head;  /* in shared memory */
    uint64_t position;      /* own: bytes published (producer) or consumed (consumer) so far */
    uint64_t peer;          /* the other side's position when last seen */
    uint64_t sequence;      /* own: records so far */
    uint32_t generation;
} bf_ring;

static inline uint64_t bf_record_size(uint64_t payload_size) {
    return sizeof(bf_record) + ((payload_size + 7) & ~7ull);
}

/* The largest payload of one record; longer ones travel as several, so a ring never blocks on size. */
static inline uint64_t bf_frame_size(const bf_ring *ring) {
    return ring->size / 4 - sizeof(bf_record);
}

static inline void bf_copy_in(bf_ring *ring, uint64_t position, const void *from, uint64_t size) {
    uint64_t start = position & (ring->size - 1), first = ring->size - start;
    if (size <= first) {
        memcpy(ring->data + start, from, size);
    } else {
        memcpy(ring->data + start, from, first);
        memcpy(ring->data, (const uint8_t *)from + first, size - first);
    }
}

static inline void bf_copy_out(const bf_ring *ring, uint64_t position, void *to, uint64_t size) {
    uint64_t start = position & (ring->size - 1), first = ring->size - start;
    if (size <= first) {
        memcpy(to, ring->data + start, size);
    } else {
        memcpy(to, ring->data + start, first);
        memcpy((uint8_t *)to + first, ring->data, size - first);
    }
}

/* Write one record behind the published ones, invisible until bf_publish; 0 if there is no room. */
static int bf_try_write(bf_ring *ring, bf_record *record, const void *payload) {
    uint64_t size = bf_record_size(record->payload_size);
    if (ring->position + size - ring->peer > ring->size) {
        /* Acquire: see the consumer finish reading these bytes before we overwrite them. */
        ring->peer = bf_load_acquire(ring->head);
        if (ring->position + size - ring->peer > ring->size)
            return 0;
    }
    record->magic = BF_RECORD_MAGIC;
    record->sequence = ring->sequence;
    record->generation = ring->generation;
    record->crc = 0;
    record->crc = bf_crc32c(bf_crc32c(0, record, sizeof *record), payload, record->payload_size);
    bf_copy_in(ring, ring->position, record, sizeof *record);
    bf_copy_in(ring, ring->position + sizeof *record, payload, record->payload_size);
    ring->position += size;
    ring->sequence += 1;
    return 1;
}

/* Release: the records' bytes become visible before the position that announces them. */
static inline void bf_publish(bf_ring *ring) {
    bf_store_release(ring->tail, ring->position);
}

enum { BF_EMPTY = 0, BF_FOUND = 1, BF_DAMAGED = -1 };

/* Copy the header of the next record to `record` and check everything but the payload. */
static int bf_peek(bf_ring *ring, bf_record *record) {
    if (ring->peer == ring->position) {
        /* Acquire: see the bytes that the producer wrote before it announced them. */
        ring->peer = bf_load_acquire(ring->tail);
        if (ring->peer == ring->position)
            return BF_EMPTY;
    }
    uint64_t available = ring->peer - ring->position;
    if (available > ring->size || available < sizeof *record)
        return BF_DAMAGED;
    bf_copy_out(ring, ring->position, record, sizeof *record);
    if (record->magic != BF_RECORD_MAGIC || record->generation != ring->generation ||
        record->sequence != ring->sequence || record->payload_size > bf_frame_size(ring) ||
        bf_record_size(record->payload_size) > available)
        return BF_DAMAGED;
    return BF_FOUND;
}

/* Copy the payload of the record just peeked to `payload`, check it, and step over it; the room is given back to the
 * producer by bf_give_back. */
static int bf_read(bf_ring *ring, bf_record *record, void *payload) {
    bf_copy_out(ring, ring->position + sizeof *record, payload, record->payload_size);
    uint32_t crc = record->crc;
    record->crc = 0;
    record->crc = bf_crc32c(bf_crc32c(0, record, sizeof *record), payload, record->payload_size);
    if (record->crc != crc)
        return BF_DAMAGED;
    ring->position += bf_record_size(record->payload_size);
    ring->sequence += 1;
    return BF_FOUND;
}

/* The checksum of its payload alone, from the header of a record that is right. */
static uint32_t bf_payload_checksum(const bf_record *record) {
    bf_record header = *record;
    header.crc = 0;
    return bf_crc32c_combine(bf_crc32c(0, &header, sizeof header), record->crc, record->payload_size);
}

/* Release: our reads of the bytes are over before the producer may overwrite them. */
static inline void bf_give_back(bf_ring *ring) {
    bf_store_release(ring->head, ring->position);
}

static inline uint64_t bf_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* Whoever waits looks for a moment before it sleeps: a sleeper is woken 20 to 100 times later than one who looks sees
 * the news.  What was in vain is tried again only after a while that doubles, so a side whose waits are long sleeps at
 * once and costs its processor nothing. */
#define BF_SPIN_MAX_NS 100000u
#define BF_SPIN_MISSES_MAX 4

typedef struct {
    uint32_t misses; /* in vain, one after another */
    uint32_t pause;  /* so many more waits are not worth a look */
} bf_patience;

static inline void bf_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield" ::: "memory");
#endif
}

/* Look at a word for at most `limit_ns` (and never for longer than BF_SPIN_MAX_NS, whatever the other side has written).
 * 1 as soon as it is not what it was; the caller looks again for what that means. */
static int bf_spin(bf_patience *patience, const uint64_t *word, uint64_t seen, uint64_t limit_ns) {
    if (limit_ns == 0)
        return 0;
    if (patience->pause) {
        patience->pause -= 1;
        return 0;
    }
    uint64_t end_ns = bf_now_ns() + (limit_ns < BF_SPIN_MAX_NS ? limit_ns : BF_SPIN_MAX_NS);
    do {
        for (int look = 0; look < 16; look++) {
            if (bf_load_acquire(word) != seen) {
                patience->misses = 0;
                return 1;
            }
            bf_relax();
        }
    } while (bf_now_ns() < end_ns);
    patience->misses += patience->misses < BF_SPIN_MISSES_MAX;
    patience->pause = (1u << patience->misses) - 1;
    return 0;
}

/* Shared futexes: the word lies in a mapping of several processes, so no FUTEX_PRIVATE_FLAG. */
static inline long bf_futex_wait(uint32_t *word, uint32_t expected) {
    return syscall(SYS_futex, word, FUTEX_WAIT, expected, NULL, NULL, 0);
}
static inline long bf_futex_wake(uint32_t *word) {
    return syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Driver: after publishing requests or giving back room, wake the worker if it sleeps. */
static inline void bf_wake_worker(bf_shared *shared) {
    /* Full fence: our position is visible before we look whether it sleeps (it raises the flag, fences, then looks
     * at the position): one of us sees the other. */
    bf_full_fence();
    if (bf_load32(&shared->worker_sleeping)) {
        bf_store32(&shared->worker_sleeping, 0);
        __atomic_fetch_add(&shared->worker_word, 1, __ATOMIC_SEQ_CST);
        bf_futex_wake(&shared->worker_word);
    }
}

/* May the driver sleep?  Not when the worker would have woken it: little left to do, little room left for answers, or
 * news.  The driver raises driver_sleeping and fences before it asks, the worker publishes and fences before it looks at
 * driver_sleeping, so one of the two sees the other. */
static inline int bf_needs_driver(const bf_shared *shared, uint64_t requests_left, uint64_t answers_waiting) {
    return bf_load32(&shared->urgent) || requests_left <= bf_load_acquire(&shared->low_water) ||
           answers_waiting > shared->completion_size / 2;
}

/* Worker: wake the driver if it sleeps; an eventfd has no owner and survives any death. */
static inline void bf_wake_driver(bf_shared *shared, int event_fd) {
    bf_full_fence();
    if (bf_load32(&shared->driver_sleeping)) {
        bf_store32(&shared->driver_sleeping, 0);
        uint64_t one = 1;
        while (write(event_fd, &one, sizeof one) < 0 && errno == EINTR) {
        }
    }
}

static inline uint64_t bf_rings_size(uint64_t request_size, uint64_t completion_size) {
    return BF_PAGE + request_size + completion_size;
}

/* Write the head of a new mapping, which is zero; the rings are empty. */
static void bf_shared_init(bf_shared *shared, uint64_t request_size, uint64_t completion_size, uint32_t generation,
                           uint64_t start) {
    shared->version = 1;
    shared->generation = generation;
    shared->request_size = request_size;
    shared->completion_size = completion_size;
    shared->start = start;
    shared->request_tail = shared->request_head = start;
    shared->completion_tail = shared->completion_head = start;
    shared->magic = BF_SHARED_MAGIC;
}

/* Point `ring` at one of the two rings of a mapping. */
static void bf_ring_open(bf_ring *ring, bf_shared *shared, int completion) {
    memset(ring, 0, sizeof *ring);
    ring->data = (uint8_t *)shared + BF_PAGE + (completion ? shared->request_size : 0);
    ring->size = completion ? shared->completion_size : shared->request_size;
    ring->tail = completion ? &shared->completion_tail : &shared->request_tail;
    ring->head = completion ? &shared->completion_head : &shared->request_head;
    ring->generation = shared->generation;
    ring->position = ring->peer = shared->start;
}

#endif
