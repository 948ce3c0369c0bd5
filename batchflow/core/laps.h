/* What the time of a worker goes into, where somebody asks: the laps of one clock, so that they add up.
 *
 * Written by the worker alone.  A lap that is lost, because the worker died or the driver looked just then, is missing in
 * the sum; none is ever counted twice.
 */
#ifndef BF_LAPS_H
#define BF_LAPS_H

#include "ring.h"

/* Worker: what it does from now on goes into `lap`. */
static void bf_begin_lap(bf_shared *shared, uint32_t lap) {
    uint64_t now = bf_now_ns(), since = shared->lap_since_ns;
    uint64_t *spent = &shared->spent_ns[shared->lap < BF_LAPS ? shared->lap : 0];
    bf_store_release(&shared->lap_since_ns, now);
    if (since)
        bf_store_release(spent, *spent + now - since);
    bf_store32(&shared->lap, lap);
}

typedef struct {
    uint64_t spent_ns[BF_LAPS];
    uint64_t open_ns; /* of the lap that is not over */
    uint32_t lap;     /* which that is */
} bf_lap_times;

/* Driver: what the worker has written, whatever it is.  0 if it never wrote anything. */
static int bf_read_laps(const bf_shared *shared, bf_lap_times *times) {
    uint64_t since = bf_load_acquire(&shared->lap_since_ns), now = bf_now_ns();
    times->lap = bf_load32(&shared->lap);
    for (int lap = 0; lap < BF_LAPS; lap++)
        times->spent_ns[lap] = bf_load_acquire(&shared->spent_ns[lap]);
    int is_same = bf_load_acquire(&shared->lap_since_ns) == since;
    times->open_ns = is_same && since <= now ? now - since : 0;
    return since != 0;
}

#endif
