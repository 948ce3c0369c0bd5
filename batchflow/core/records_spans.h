/* A file → what its grains are like, by several threads.
 *
 * The file is cut into spans; threads scan them, in any order but never far ahead of the one that is wanted next.  Whether
 * a span begins in quotes is not known before the ones before it are scanned, so it is guessed; each grain says for
 * which case it was scanned.
 *
 *     span   0  walked │ 1  done │ 2  being scanned │ 3  done │ 4  being scanned │ 5 …
 *                      ^ walked                                                  ^ next
 *
 * Always: next <= walked + slot_count, so that the slot of span n is free when n is taken.
 */
#ifndef BF_RECORDS_SPANS_H
#define BF_RECORDS_SPANS_H

#include "records_exact.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define BF_SPAN_GRAINS 1024
#define BF_BLOCK_SIZE (256 << 10) /* read at once: it stays in the processor's cache until it is scanned */
#define BF_BYTES_BEFORE 64        /* of a block: one is used, and what is behind them is aligned */
#define BF_SPAN_THREADS_MAX 64

/* What was found out about one span. */
typedef struct {
    int64_t begin, end, stop; /* stop: less than end if the file has become shorter */
    int error;
    bool is_done;
    bf_grain grains[BF_SPAN_GRAINS];
} bf_span;

typedef struct {
    /* The question */
    int fd;
    int64_t start, stop; /* the first byte begins a record */
    int64_t grain_size;
    bf_dialect dialect;
    bf_scan_grain *scan;
    int thread_count; /* the caller's among them */

    bf_span *slots; /* span n is in slot n % slot_count */
    int64_t span_count, slot_count, next, walked;
    pthread_t helpers[BF_SPAN_THREADS_MAX];
    uint8_t *blocks[BF_SPAN_THREADS_MAX]; /* of each thread */
    int helper_count, blocks_taken;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_ending;
} bf_spans;

/* A block of memory for bytes of the file, and for some before; NULL without memory. */
static uint8_t *bf_block_new(size_t size) {
    void *block = NULL;
    return posix_memalign(&block, BF_BYTES_BEFORE, BF_BYTES_BEFORE + size) ? NULL : (uint8_t *)block + BF_BYTES_BEFORE;
}

static void bf_block_free(uint8_t *bytes) {
    free(bytes ? bytes - BF_BYTES_BEFORE : NULL);
}

/* Read `size` bytes from `from` on: how many there are, or -1 and errno. */
static int64_t bf_read_at(int fd, uint8_t *bytes, int64_t size, int64_t from) {
    int64_t done = 0;
    while (done < size) {
        ssize_t got = pread(fd, bytes + done, (size_t)(size - done), from + done);
        if (got < 0 && errno != EINTR)
            return -1;
        if (got == 0)
            break;
        done += got < 0 ? 0 : got;
    }
    return done;
}

/* As bf_read_at, and the byte before into bytes[-1]: a line break before the first one. */
static int64_t bf_read_behind(const bf_spans *spans, uint8_t *bytes, int64_t size, int64_t from) {
    int64_t got = 1;
    bytes[-1] = '\n';
    if (from > spans->start)
        got = bf_read_at(spans->fd, bytes - 1, 1, from - 1);
    return got == 1 ? bf_read_at(spans->fd, bytes, size, from) : got;
}

/* Is the byte before these in quotes?  Likely not; but if that puts quotes where none may be, and the other case does
 * not, it is. */
static bool bf_guess_inside(const bf_spans *spans, const uint8_t *bytes, size_t size) {
    return !spans->dialect.is_json && spans->scan(&spans->dialect, bytes, size, false, NULL).is_doubtful
           && !spans->scan(&spans->dialect, bytes, size, true, NULL).is_doubtful;
}

static void bf_scan_span(const bf_spans *spans, bf_span *span, uint8_t *bytes) {
    bf_grain *grain = span->grains;
    bool is_inside = false;
    span->error = 0;
    for (span->stop = span->begin; span->stop < span->end;) {
        int64_t rest = span->end - span->stop, wanted = rest < BF_BLOCK_SIZE ? rest : BF_BLOCK_SIZE;
        int64_t got = span->stop == span->begin ? bf_read_behind(spans, bytes, wanted, span->stop)
                                                : bf_read_at(spans->fd, bytes, wanted, span->stop);
        if (got < 0)
            span->error = errno;
        for (int64_t i = 0; i < got; i += spans->grain_size) {
            size_t size = (size_t)(got - i < spans->grain_size ? got - i : spans->grain_size);
            if (grain == span->grains && span->begin > spans->start)
                is_inside = bf_guess_inside(spans, bytes, size);
            *grain = spans->scan(&spans->dialect, bytes + i, size, is_inside, NULL);
            is_inside = grain++->ends_inside;
        }
        span->stop += got < 0 ? 0 : got;
        if (got < wanted)
            break;
        bytes[-1] = bytes[got - 1];
    }
}

/* Take and scan the next span, with the lock held, which is open meanwhile; false if there is none, or no slot for it. */
static bool bf_scan_next(bf_spans *spans, uint8_t *bytes) {
    int64_t size = spans->grain_size * BF_SPAN_GRAINS;
    if (spans->next == spans->span_count || spans->next == spans->walked + spans->slot_count)
        return false;
    bf_span *span = &spans->slots[spans->next % spans->slot_count];
    span->begin = spans->start + spans->next * size;
    span->end = spans->stop - span->begin < size ? spans->stop : span->begin + size;
    span->is_done = false;
    spans->next++;
    pthread_mutex_unlock(&spans->lock);
    bf_scan_span(spans, span, bytes);
    pthread_mutex_lock(&spans->lock);
    span->is_done = true;
    pthread_cond_broadcast(&spans->changed);
    return true;
}

static void *bf_spans_helper(void *argument) {
    bf_spans *spans = argument;
    pthread_mutex_lock(&spans->lock);
    uint8_t *bytes = spans->blocks[spans->blocks_taken++];
    while (!spans->is_ending && spans->next < spans->span_count)
        if (!bf_scan_next(spans, bytes))
            pthread_cond_wait(&spans->changed, &spans->lock);
    pthread_mutex_unlock(&spans->lock);
    return NULL;
}

/* The next span in order, scanned; NULL behind the last one. */
static const bf_span *bf_spans_next(bf_spans *spans) {
    if (spans->walked == spans->span_count)
        return NULL;
    const bf_span *span = &spans->slots[spans->walked % spans->slot_count];
    pthread_mutex_lock(&spans->lock);
    while (spans->next == spans->walked || !span->is_done)
        if (!bf_scan_next(spans, spans->blocks[0]))
            pthread_cond_wait(&spans->changed, &spans->lock);
    pthread_mutex_unlock(&spans->lock);
    return span;
}

/* The span that bf_spans_next gave is no longer needed. */
static void bf_spans_leave(bf_spans *spans) {
    pthread_mutex_lock(&spans->lock);
    spans->walked++;
    pthread_cond_broadcast(&spans->changed);
    pthread_mutex_unlock(&spans->lock);
}

/* 0, or an errno; bf_spans_end in either case.  Fewer threads than asked for are no error; they take no signals. */
static int bf_spans_begin(bf_spans *spans) {
    int64_t size = spans->grain_size * BF_SPAN_GRAINS;
    spans->span_count = spans->stop > spans->start ? (spans->stop - spans->start + size - 1) / size : 0;
    int wanted = spans->thread_count < BF_SPAN_THREADS_MAX ? spans->thread_count : BF_SPAN_THREADS_MAX;
    wanted = wanted > spans->span_count ? (int)spans->span_count : wanted;
    spans->thread_count = wanted > 1 ? wanted : 1;
    spans->slot_count = wanted > 1 ? 2 * wanted : 1;
    pthread_mutex_init(&spans->lock, NULL);
    pthread_cond_init(&spans->changed, NULL);
    spans->slots = calloc((size_t)spans->slot_count, sizeof *spans->slots);
    bool is_short = spans->slots == NULL;
    for (int i = 0; i < spans->thread_count; i++)
        is_short |= (spans->blocks[i] = bf_block_new(BF_BLOCK_SIZE)) == NULL;
    spans->blocks_taken = 1;
    if (is_short)
        return ENOMEM;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (spans->helper_count < spans->thread_count - 1
           && !pthread_create(&spans->helpers[spans->helper_count], NULL, bf_spans_helper, spans))
        spans->helper_count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return 0;
}

static void bf_spans_end(bf_spans *spans) {
    pthread_mutex_lock(&spans->lock);
    spans->is_ending = true;
    pthread_cond_broadcast(&spans->changed);
    pthread_mutex_unlock(&spans->lock);
    for (int i = 0; i < spans->helper_count; i++)
        pthread_join(spans->helpers[i], NULL);
    pthread_cond_destroy(&spans->changed);
    pthread_mutex_destroy(&spans->lock);
    free(spans->slots);
    for (int i = 0; i < spans->thread_count; i++)
        bf_block_free(spans->blocks[i]);
}

#endif
