/* A wall clock that jumps with every look: a day ahead, a day back, to 1970, to 2106. */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static void look(struct timespec *now) {
    static unsigned looks;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, now);
    switch (looks++ % 5) {
    case 1: now->tv_sec += 86400; break;
    case 2: now->tv_sec -= 86400; break;
    case 3: now->tv_sec = 1; break;
    case 4: now->tv_sec = 4294967400; break;
    default: break;
    }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) {
        return (int)syscall(SYS_clock_gettime, clock, now);
    }
    look(now);
    return 0;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec time;
    (void)zone;
    look(&time);
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    look(&now);
    if (result != NULL) {
        *result = now.tv_sec;
    }
    return now.tv_sec;
}
